"""Third stage: crops to restored crops, on Arrow tables without Ray, with real modules and random weights."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from interlcm import InterLCM
from interlcm.pixels import to_tensor
from interlcm.weights_index import WeightsError, read_index, write_index
from pipeline.cluster.connect import ClusterError
from pipeline.config.resources import Resources
from pipeline.networks.files import PARSER, RECOGNISER
from pipeline.photos.bit_depth import eight_bit
from pipeline.run.prepare import RunError, with_dtype
from pipeline.stages.detect import DetectFaces
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import crops_of, published_crops
from tests.support.crops import ROWS, crops, restored, same, waiting
from tests.support.networks import (
    FacexlibNetworks,
    link_files,
    list_files,
    write_background_network,
)
from tests.support.pictures import astronaut, coffee, decoded, hopper
from tests.support.stages import ended_row, job, photo_row, rows_of
from tests.support.tiny import IMAGE_SIZE


@pytest.mark.parametrize("batch_faces", [1, 3, 16])
def test_a_face_is_the_same_to_the_bit_in_any_company(stage: Any, batch_faces: int) -> None:
    whole = stage()
    whole.batch_faces = batch_faces  # as on a GPU; 3: 8 faces are 3 + 3 + 2, across the borders of photos
    together = rows_of(whole, ROWS)
    assert [row["member"] for row in together] == [row["member"] for row in ROWS]
    assert same(restored(together), restored([row for one in ROWS for row in rows_of(whole, [one])]))
    assert same(restored(together), restored(rows_of(whole, ROWS[::-1]))[::-1])
    assert len({faces.tobytes() for row in restored(together) for faces in row}) == 8


def test_a_crop_is_what_the_model_makes_of_it(stage: Any, tiny_weights: str) -> None:
    (row,) = restored(rows_of(stage(steps=3, color_fix="adain"), [waiting("a.jpg", 1)]))
    lq = torch.from_numpy(crops(1, sum(b"a.jpg"))).permute(0, 3, 1, 2).float() / 127.5 - 1
    model = InterLCM.from_pretrained(tiny_weights)
    expected = model.restore(lq, steps=3, seeds=[sum(b"a.jpg")], color_fix="adain", keep_monochrome=False)
    pixels = ((expected.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(row.astype(int), pixels.astype(int), atol=1)


def test_the_seed_decides(stage: Any) -> None:
    row = waiting("a.jpg", 1)
    other = row | {"faces": [row["faces"][0] | {"seed": 5}]}
    first, again, third = restored(rows_of(stage(), [row, row, other]))
    assert same([first], [again])
    assert np.abs(first.astype(int) - third).max() > 1


def test_ended_rows_pass_as_they_are(stage: Any) -> None:
    rows = rows_of(lambda table: table, [ended_row("gone.jpg"), ended_row("lost.jpg")])
    assert rows_of(stage(), rows) == rows
    before, after = rows_of(lambda table: table, ROWS), rows_of(stage(), ROWS)
    assert after[1] == before[1]
    made = {"restored_crops", "seconds_restore"}
    for one, other in zip(before, after, strict=True):
        assert {key: one[key] for key in one.keys() - made} == {key: other[key] for key in one.keys() - made}
    assert all(row["seconds_restore"] > 0 for row in after if row["status"] is None)


def test_crops_of_sixteen_bits_keep_them_beside_others_of_eight(stage: Any) -> None:
    eight = waiting("a.jpg", 2)
    fine = (crops_of(eight, "crops").astype(np.uint16) * 257).tobytes()
    first, second = restored(rows_of(stage(), [eight, waiting("a.jpg", 2, crops=fine, bit_depth=16)]))
    assert (first.dtype, second.dtype) == (np.uint8, np.uint16)
    assert (second % 257 != 0).mean() > 0.9  # more than 256 levels
    np.testing.assert_allclose(first.astype(int), eight_bit(second).astype(int), atol=1)


def test_a_photo_of_one_tone_keeps_it_and_others_stay_as_they_are(stage: Any) -> None:
    grey = np.repeat(crops(2, 0)[..., :1], 3, axis=3).tobytes()
    rows = [waiting("a.jpg", 2, crops=grey, monochrome=True), waiting("a.jpg", 2, crops=grey)]
    toned, free = restored(rows_of(stage(color_fix="none"), rows))
    assert (toned == toned[..., :1]).all() and toned.std() > 1
    assert np.ptp(free.astype(int), axis=3).max() > 10


def test_a_grey_print_on_a_coloured_page_stays_grey(stage: Any, tmp_path: Path, tiny_weights: str) -> None:
    """From detection to the restored crop, with random weights, which make colours of everything."""
    page = coffee(400)
    page[:150, :128] = cv2.cvtColor(hopper(), cv2.COLOR_RGB2GRAY)[..., None]
    finder = DetectFaces(job(tmp_path, tiny_weights))
    (found,) = rows_of(finder, [photo_row("a.png", page, "PNG")])
    assert not found["monochrome"]
    stage = stage(color_fix="none")
    (toned,) = restored(rows_of(stage, [found]))
    assert np.ptp(toned.astype(int), axis=3).max() <= 1 and toned.std() > 1
    (free,) = restored(rows_of(stage, [{**found, "faces": [{**one, "one_tone": False} for one in found["faces"]]}]))
    assert np.ptp(free.astype(int), axis=3).max() > 10


def test_a_photo_without_faces_passes_through_among_others(stage: Any) -> None:
    rows = rows_of(stage(), [waiting("a.jpg", 1), waiting("none.jpg", 0), waiting("b.jpg", 2)])
    assert [len(crops_of(row, "restored_crops")) for row in rows] == [1, 0, 2]
    assert same(
        [restored(rows)[n] for n in (0, 2)], restored(rows_of(stage(), [waiting("a.jpg", 1), waiting("b.jpg", 2)]))
    )


def with_variant(weights: str, folder: Path, task: str) -> str:
    """A copy of a weights folder whose only variant supports a different task."""
    shutil.copytree(weights, folder)
    index = read_index(folder)
    index["variants"] = {name: {**variant, "task": task} for name, variant in index["variants"].items()}
    write_index(folder, index)
    return str(folder)


def test_colorize_gives_colour_to_a_photo_of_one_tone(stage: Any, tiny_weights: str, tmp_path: Path) -> None:
    colorizing = stage(with_variant(tiny_weights, tmp_path / "weights", "colorize"), task="colorize")
    grey = np.repeat(crops(1, 0)[..., :1], 3, axis=3).tobytes()
    (coloured,) = restored(rows_of(colorizing, [waiting("a.jpg", 1, crops=grey, monochrome=True)]))
    assert np.ptp(coloured.astype(int), axis=3).max() > 10


def test_inpaint_is_restored_like_any_other(stage: Any, tiny_weights: str, tmp_path: Path) -> None:
    inpainting = stage(with_variant(tiny_weights, tmp_path / "weights", "inpaint"), task="inpaint")
    assert same(restored(rows_of(inpainting, ROWS[:1])), restored(rows_of(stage(color_fix="none"), ROWS[:1])))


def test_steps_that_the_weights_were_not_trained_for_are_said_and_recorded(
    tiny_weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = job(tmp_path, tiny_weights).settings
    assert (usual.steps, usual.trained_steps) == (4, 4) and capsys.readouterr().err == ""
    fewer = job(tmp_path, tiny_weights, steps=2).settings
    assert (fewer.steps, fewer.trained_steps) == (2, 4)
    assert capsys.readouterr().err.startswith("warning: --steps 2: the weights (3step) were trained for 4 steps;")


@pytest.mark.parametrize(("task", "color_fix"), [("restore", "wavelet"), ("colorize", "none"), ("inpaint", "none")])
def test_a_run_has_the_colour_fix_of_its_task_unless_it_is_named(
    task: str, color_fix: str, tiny_weights: str, tmp_path: Path
) -> None:
    weights = with_variant(tiny_weights, tmp_path / "weights", task)
    assert job(tmp_path, weights, task=task).settings.color_fix == color_fix
    assert job(tmp_path, weights, task=task, color_fix="adain").settings.color_fix == "adain"


def test_masks_and_measures_where_there_are_weights_for_them(
    stage: Any, tiny_weights: str, tmp_path: Path, face_networks: tuple[Path, FacexlibNetworks]
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    link_files(face_networks[0], weights)
    list_files(weights)
    weak = waiting("a.jpg", 1)
    weak |= {"photo_id": "weak", "faces": [{**weak["faces"][0], "strength": 0.5}]}
    judging = stage(str(weights))
    judge = judging.judge
    (row,) = rows_of(judging, [waiting("a.jpg", 1)])
    judging.settings = replace(judging.settings, mask="ellipse")  # to parse another face takes seconds
    (blended,) = rows_of(judging, [weak])
    assert blended["masks"] is blended["faces"][0]["face_share"] is None
    (face,) = row["faces"]
    before, after = (to_tensor(crops_of(row, column)) for column in ("crops", "restored_crops"))
    assert [face["identity_similarity"]] == pytest.approx(judge.identity(before, after))
    assert [face["quality_before"], face["quality_after"]] == pytest.approx(
        judge.quality(torch.cat([before, after])), rel=1e-5
    )
    assert blended["restored_crops"] == row["restored_crops"]
    shown = to_tensor(published_crops(blended))  # a level apart, by rounding twice
    assert [blended["faces"][0]["identity_similarity"]] == pytest.approx(judge.identity(before, shown), abs=2e-3)
    assert blended["faces"][0]["identity_similarity"] > face["identity_similarity"]
    assert 0 <= face["face_share"] <= 1
    assert len(row["masks"]) == IMAGE_SIZE**2 and len(set(row["masks"])) > 1
    (without,) = rows_of(stage(), [waiting("a.jpg", 1)])
    unseen = without["faces"][0]
    assert without["masks"] is unseen["identity_similarity"] is unseen["face_share"] is None


def test_a_file_swapped_after_the_drivers_check_is_refused_by_the_worker(tiny_weights: str, tmp_path: Path) -> None:
    """Even where the swap reached the index, too: the worker compares with what the driver read."""
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    (weights / RECOGNISER).parent.mkdir()
    torch.save({"one": torch.zeros(1)}, weights / RECOGNISER)
    list_files(weights)
    prepared = job(tmp_path / "out", str(weights))
    torch.save({"another": torch.zeros(1)}, weights / RECOGNISER)
    list_files(weights)
    with pytest.raises(
        WeightsError, match=f"{RECOGNISER} does not match the sha256 .*; remove it and get it"
    ) as caught:
        RestoreFaces(prepared, Resources())
    assert "\n" not in str(caught.value)


def test_the_parsing_mask_needs_its_weights(stage: Any) -> None:
    with pytest.raises(WeightsError, match=f"needs .*{PARSER}: pull it, or choose the ellipse"):
        stage(mask="parsenet")


def test_the_background_is_enlarged_by_its_network(stage: Any, tiny_weights: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    write_background_network(weights / "background" / "RealESRGAN_x2plus.pth", 2)
    list_files(weights)
    enlarging = stage(str(weights), upscale=2, background="realesrgan")
    row = waiting("a.png", 1) | {"data": photo_row("a.png", astronaut(100), "PNG")["data"]}
    done, broken = rows_of(enlarging, [row, waiting("b.jpg", 1)])
    assert np.array_equal(decoded(done["background"]), enlarging.background.enlarge(astronaut(100)))
    assert broken["status"] == "failed" and broken["error_type"] == "not_an_image"
    assert rows_of(stage(), [row])[0]["background"] is None


def test_bfloat16_is_near_float32_and_another_setting(stage: Any) -> None:
    single, half = (stage(dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.model.unet.dtype == torch.bfloat16 and single.model.unet.dtype == torch.float32
    assert half.settings.digest() != single.settings.digest()
    before, after = (np.concatenate(restored(rows_of(one, ROWS))).astype(float) for one in (single, half))
    assert 0 < np.sqrt(np.square(before - after).mean()) < 255 * 10 ** (-45 / 20)  # 45 dB


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_node_whose_gpu_cannot_be_used_is_named(tmp_path: Path, tiny_weights: str) -> None:
    with pytest.raises(ClusterError, match=f"{socket.gethostname()}: PyTorch .* finds no GPU that it can use"):
        RestoreFaces(job(tmp_path, tiny_weights), Resources(gpus_per_actor=1.0))


def test_dtype_is_settled_by_the_device(tmp_path: Path, tiny_weights: str) -> None:
    open_, float16 = job(tmp_path, tiny_weights, dtype="auto"), job(tmp_path, tiny_weights, dtype="float16")
    cpu, gpu = Resources(), Resources(gpus_per_actor=1.0)
    assert [with_dtype(open_, one).settings.dtype for one in (cpu, gpu)] == ["float32", "bfloat16"]
    assert with_dtype(float16, gpu) == float16
    with pytest.raises(RunError, match="--dtype float16 needs a GPU"):
        with_dtype(float16, cpu)
