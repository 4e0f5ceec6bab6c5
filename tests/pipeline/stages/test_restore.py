"""Third stage: crops to restored crops, on Arrow tables without Ray, with real modules and random weights."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from interlcm import InterLCM
from interlcm.pixels import to_tensor
from interlcm.weights_index import WeightsError, opened, read_index, write_index
from pipeline.config.resources import Resources
from pipeline.networks.facexlib import PARSER, RECOGNISER, FaceNetworks
from pipeline.photos.bit_depth import eight_bit
from pipeline.run.prepare import RunError, with_dtype
from pipeline.stages import restore
from pipeline.stages.detect import DetectFaces
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Crops, Row, crops_of, published_crops
from tests.support.networks import (
    FacexlibNetworks,
    link_files,
    list_files,
    write_background_network,
)
from tests.support.pictures import astronaut, coffee, decoded, hopper
from tests.support.stages import ended_row, job, photo_row, rows_of
from tests.support.tiny import IMAGE_SIZE

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


def crops(faces: int, seed: int) -> Crops:
    """Smooth patches, a different colour for each photo, so that a crop in the wrong photo shows."""
    generator = np.random.default_rng(seed)
    colour = generator.integers(40, 200, (faces, 1, 1, 3))
    return (colour + generator.integers(0, 40, (faces, *SHAPE))).astype(np.uint8)


def waiting(member: str, faces: int, monochrome: bool = False, **columns: Any) -> Row:
    """The second stage's row for a photo with this many faces."""
    seed = sum(member.encode())
    found = [
        {
            "score": 1.0,
            "box": [0, 0, 1, 1],
            "landmarks": [0] * 10,
            "matrix": [1, 0, 0, 0, 1, 0],
            "seed": seed + n,
            "one_tone": monochrome,
            "strength": 1.0,
        }
        for n in range(faces)
    ]
    row = photo_row(member, b"bytes", faces=found, crops=crops(faces, seed).tobytes(), bit_depth=8)
    return row | columns


ROWS = [waiting("a.jpg", 2), ended_row("gone.jpg"), waiting("b.jpg", 1), waiting("c.jpg", 5)]


@pytest.fixture
def stage(tmp_path: Path, tiny_weights: str) -> Any:
    def build(weights: str = tiny_weights, **settings: Any) -> RestoreFaces:
        return RestoreFaces(job(tmp_path, weights, **settings), Resources())

    return build


def restored(rows: list[Row]) -> list[Crops]:
    return [crops_of(row, "restored_crops") for row in rows if row["status"] is None]


def same(found: list[Crops], expected: list[Crops]) -> bool:
    return [faces.tobytes() for faces in found] == [faces.tobytes() for faces in expected]


@pytest.mark.parametrize("batch_faces", [1, 3, 16])
def test_a_face_is_the_same_to_the_bit_in_any_company(stage: Any, batch_faces: int) -> None:
    whole = stage()
    whole.batch_faces = batch_faces  # as on a GPU; 3: 8 faces are 3 + 3 + 2, across the borders of photos
    together = rows_of(whole, ROWS)
    assert [row["member"] for row in together] == [row["member"] for row in ROWS]
    assert same(restored(together), restored([row for one in ROWS for row in rows_of(whole, [one])]))
    assert same(restored(together), restored(rows_of(whole, ROWS[::-1]))[::-1])
    assert len({faces.tobytes() for row in restored(together) for faces in row}) == 8


def test_batches_of_other_sizes_agree_to_one_level(stage: Any) -> None:
    one, other = stage(), stage()
    assert one.batch_faces == 1  # on a CPU
    other.batch_faces = 5
    for mine, theirs in zip(restored(rows_of(one, ROWS)), restored(rows_of(other, ROWS)), strict=True):
        # A sum in a different order can move a value across the middle between two levels.
        np.testing.assert_allclose(mine.astype(int), theirs.astype(int), atol=1)


def test_a_crop_is_what_the_model_makes_of_it(stage: Any, tiny_weights: str) -> None:
    (row,) = restored(rows_of(stage(steps=3, color_fix="adain"), [waiting("a.jpg", 1)]))
    lq = torch.from_numpy(crops(1, sum(b"a.jpg"))).permute(0, 3, 1, 2).float() / 127.5 - 1
    model = InterLCM.from_pretrained(tiny_weights)
    expected = model.restore(lq, steps=3, seeds=[sum(b"a.jpg")], color_fix="adain", keep_monochrome=False)
    pixels = ((expected.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(row.astype(int), pixels.astype(int), atol=1)


def test_the_next_micro_batch_begins_before_the_last_one_is_taken(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the same bytes; never more than two micro-batches begun; and the host finishes photos in between."""
    expected = rows_of(stage(), ROWS)
    actor, events = stage(), list[str]()
    actor.overlaps = True

    def noted(name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            events.append(name)
            return real(*args, **options)

        return call

    for name in ("launched", "landed", "finish"):
        monkeypatch.setattr(actor, name, noted(name[:3], getattr(actor, name)))
    found = rows_of(actor, ROWS)
    assert same(restored(found), restored(expected))
    assert [face for row in found if row["status"] is None for face in row["faces"]] == [
        face for row in expected if row["status"] is None for face in row["faces"]
    ]
    assert " ".join(events) == ("lau lau lan lau lan fin lau lan fin lau lan lau lan lau lan lau lan lan fin")
    assert all(row["seconds_restore"] > 0 for row in found if row["status"] is None)


def test_memory_that_runs_out_later_halves_micro_batches_that_overlap(stage: Any) -> None:
    expected, actor = rows_of(stage(), ROWS), stage()
    actor.batch_faces, actor.overlaps = 4, True
    real, sizes = actor.model.restore, list[int]()

    def short(lq: torch.Tensor, **options: Any) -> torch.Tensor:
        sizes.append(len(lq))
        if len(sizes) in (2, 3):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(lq, **options)

    actor.model.restore = short
    found = rows_of(actor, ROWS)
    assert sizes == [4, 4, 2, 1, 1, 1, 1]  # four faces are in flight when the next four do not fit
    for mine, theirs in zip(restored(found), restored(expected), strict=True):
        np.testing.assert_allclose(mine.astype(int), theirs.astype(int), atol=1)
    actor.model.restore = real
    short_of_memory(actor, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        rows_of(actor, ROWS)


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
    row, blended = rows_of(stage(str(weights)), [waiting("a.jpg", 1), weak])
    (face,) = row["faces"]
    judge = FaceNetworks(opened(weights))
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


def short_of_memory(stage: RestoreFaces, most: int, error: Exception) -> list[int]:
    """Make the model raise for more than this many faces at once; returns the sizes of its calls."""
    real, sizes = stage.model.restore, []

    def restore(lq: torch.Tensor, **options: Any) -> torch.Tensor:
        sizes.append(len(lq))
        if len(lq) > most:
            raise error
        return real(lq, **options)

    stage.model.restore = restore  # type: ignore[method-assign,assignment]
    return sizes


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_micro_batch(stage: Any, error: Exception) -> None:
    expected = rows_of(stage(), ROWS)
    actor = stage()
    actor.batch_faces = 8
    sizes = short_of_memory(actor, 2, error)
    found = rows_of(actor, ROWS)
    assert sizes == [8, 4, 2, 2, 2, 2]  # 8 faces; it keeps the size that worked
    for after, before in zip(found, expected, strict=True):
        assert (after["photo_id"], after["status"]) == (before["photo_id"], before["status"])
        if after["status"] is None:
            difference = crops_of(after, "restored_crops").astype(int) - crops_of(before, "restored_crops")
            assert abs(difference).max() <= 1
    assert len(rows_of(actor, ROWS[:1])) == 1 and sizes[6:] == [2]


def test_a_photo_for_which_memory_never_suffices_is_recorded(stage: Any) -> None:
    actor = stage()
    actor.batch_faces = 4
    short_of_memory(actor, 0, torch.OutOfMemoryError("CUDA out of memory."))
    found = rows_of(actor, ROWS)
    assert [row["error_type"] for row in found] == ["out_of_memory", "member_unreadable", *["out_of_memory"] * 2]
    assert all(row["status"] == "failed" and row["crops"] is None for row in found)


def test_another_error_of_the_model_is_not_taken_for_it(stage: Any) -> None:
    actor = stage()
    short_of_memory(actor, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        rows_of(actor, ROWS)


def test_bfloat16_is_near_float32_and_another_setting(stage: Any) -> None:
    single, half = (stage(dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.model.unet.dtype == torch.bfloat16 and single.model.unet.dtype == torch.float32
    assert half.settings.digest() != single.settings.digest()
    before, after = (np.concatenate(restored(rows_of(one, ROWS))).astype(float) for one in (single, half))
    assert 0 < np.sqrt(np.square(before - after).mean()) < 255 * 10 ** (-45 / 20)  # 45 dB


def test_dtype_is_settled_by_the_device(tmp_path: Path, tiny_weights: str) -> None:
    open_, float16 = job(tmp_path, tiny_weights, dtype="auto"), job(tmp_path, tiny_weights, dtype="float16")
    cpu, gpu = Resources(), Resources(gpus_per_actor=1.0)
    assert [with_dtype(open_, one).settings.dtype for one in (cpu, gpu)] == ["float32", "bfloat16"]
    assert with_dtype(float16, gpu) == float16
    with pytest.raises(RunError, match="--dtype float16 needs a GPU"):
        with_dtype(float16, cpu)


def test_nothing_is_compiled_on_a_cpu(tmp_path: Path, tiny_weights: str) -> None:
    """Replaying a long run of a GPU here, for example."""
    stage = RestoreFaces(job(tmp_path, tiny_weights), Resources(compiled=True, find_gpus=0.25))
    assert [one._compiled_call_impl for one in stage.model.large_networks()] == [None] * 4 and not stage.overlaps


def test_what_a_micro_batch_costs(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, not seconds: 8 faces by threes are three calls of the model, each with one embedding of the crops, three
    evaluations, and one copy of all crops to the device."""
    actor, calls = stage(), Counter[str]()
    actor.batch_faces = 3
    parts = {name: getattr(actor.model, name) for name in ("unet", "clip", "spatial_encoder")}
    parts |= {"encoder": actor.model.vae.encoder, "decoder": actor.model.vae.decoder}
    parts["embedding"] = actor.model.spatial_encoder.controlnet_cond_embedding
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: calls.update([name]))
    copied: list[int] = []

    def counted(crops: Crops, device: torch.device) -> torch.Tensor:
        copied.append(len(crops))
        return to_tensor(crops, device)

    monkeypatch.setattr(restore, "to_tensor", counted)
    rows_of(actor, ROWS)
    each = {"unet": 9, "spatial_encoder": 9, "embedding": 3, "clip": 3, "encoder": 3, "decoder": 3}
    assert calls == each
    assert copied[:3] == [3, 3, 3]
