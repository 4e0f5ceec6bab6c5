"""The last two stages of an evaluation, with all networks and with none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlcm.fid import inception_features, load_inception
from interlcm.metrics import delta_e, psnr, ssim
from interlcm.perceptual import Perceptual
from interlcm.weights_index import WeightsError, opened, read_index
from pipeline.config.resources import Resources
from pipeline.evaluation.measures import MeasureFaces, only
from pipeline.evaluation.networks import FILES, INCEPTION, check_metrics, missing
from pipeline.evaluation.pixels import compare, crops_of
from pipeline.evaluation.schema import METRICS, to_table
from pipeline.networks.facexlib import FaceNetworks
from pipeline.networks.landmarks import Landmarks
from pipeline.stages.row import Row
from tests.support import tiny
from tests.support.networks import (
    FacexlibNetworks,
    link_files,
    list_files,
    write_inception,
    write_landmark_network,
    write_perceptual_network,
)
from tests.support.pictures import Pixels, astronaut, hopper, resized
from tests.support.stages import job

NETWORKS = {"lpips", "identity_similarity", "landmark_distance", "quality", "musiq"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, face_networks: tuple[Path, FacexlibNetworks]) -> Path:
    """A tiny InterLCM and the metrics' networks at full size, except MUSIQ's, whose package is optional."""
    folder: Path = tmp_path_factory.mktemp("metrics") / "weights"
    tiny.weights_folder(folder)
    link_files(face_networks[0], folder)
    write_perceptual_network(folder)
    write_landmark_network(folder)
    write_inception(folder)
    list_files(folder)
    return folder


def row(lq: Pixels, hq: Pixels | None, **columns: Any) -> Row:
    crops = {"lq_crop": lq.tobytes(), "hq_crop": None if hq is None else hq.tobytes(), "restored_crop": None}
    return {
        "pair": 0,
        "shown": False,
        "status": None,
        "seed": 3,
        "face_index": 0,
        "monochrome": False,
        **crops,
        **columns,
    }


def measured(weights: Path | str, *rows: Row) -> tuple[list[Row], list[Row]]:
    """The output of the third stage and of the fourth."""
    stage = MeasureFaces(job("out", str(weights), aligned=True), Resources(), str(weights), read_index(Path(weights)))
    restored = stage(to_table(rows))
    return restored.to_pylist(), compare(restored).to_pylist()


LQ, HQ = resized(astronaut(), 32), resized(hopper()[:128], 32)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1


def test_with_networks_each_metric_is_what_its_network_says(weights: Path) -> None:
    (restored,), (found,) = measured(weights, row(LQ, HQ, shown=True))
    crops = crops_of(restored)
    assert (crops["lq"] == LQ).all() and (crops["hq"] == HQ).all() and crops["restored"].shape == LQ.shape
    perceptual, landmarks, judge = (
        Perceptual.load(opened(weights)),
        Landmarks(opened(weights)),
        FaceNetworks(opened(weights)),
    )
    network = load_inception(opened(weights), INCEPTION)
    with torch.inference_mode():
        for name in ("lq", "restored"):
            face, hq = tensor(crops[name]), tensor(HQ)
            expected = {
                "psnr": psnr(crops[name], HQ),
                "ssim": ssim(crops[name], HQ),
                "delta_e": delta_e(crops[name], HQ),
                "lpips": float(perceptual(face[None], hq[None])),
                "landmark_distance": landmarks.distance(face, hq),
                "identity_similarity": only(judge.identity(face[None], hq[None])),
                "quality": only(judge.quality(face[None])),
                "musiq": None,
            }
            assert {metric.name for metric in METRICS} == expected.keys()
            for metric, value in expected.items():
                assert found[f"{metric}_{name}"] == (None if value is None else pytest.approx(value, rel=1e-4)), metric
        features = inception_features(network, torch.stack([tensor(crops[name]) for name in ("lq", "restored", "hq")]))
    torch.testing.assert_close(torch.tensor(found["features"]), features, atol=1e-4, rtol=1e-3)
    assert found["status"] == "measured" and found["lq_crop"] is None and found["picture"] is not None


def test_without_hq_only_the_face_itself_is_judged(weights: Path) -> None:
    _, (found,) = measured(weights, row(LQ, None))
    numbers = {name for metric in METRICS for name in (f"{metric.name}_lq", f"{metric.name}_restored")}
    assert {name for name in numbers if found[name] is not None} == {"quality_lq", "quality_restored"}
    assert len(found["features"]) == 2


def test_without_networks_the_pixels_are_compared(tiny_weights: str) -> None:
    failed = {"pair": 1, "shown": False, "status": "failed", "error_type": "truncated"}
    _, found = measured(tiny_weights, row(LQ, LQ), failed, row(LQ, HQ))
    assert [one["status"] for one in found] == ["measured", "failed", "measured"]
    assert found[0]["psnr_lq"] is None  # null for equal faces, where it is infinite
    assert found[0]["ssim_lq"] == pytest.approx(1) and found[0]["delta_e_lq"] == 0
    assert found[2]["psnr_lq"] == pytest.approx(psnr(LQ, HQ)) and found[1]["psnr_lq"] is None
    assert all(one[f"{name}_restored"] is None for one in found for name in NETWORKS)
    assert found[0]["features"] is None and found[0]["picture"] is None
    assert missing(opened(tiny_weights)).keys() == FILES.keys()


def test_a_monochrome_picture_stays_so(tiny_weights: str) -> None:
    grey = np.repeat(LQ[..., 1:2], 3, axis=2)
    (restored,), _ = measured(tiny_weights, row(grey, HQ, monochrome=True))
    crop = crops_of(restored)["restored"]
    assert (crop[..., 0] == crop[..., 2]).all() and len(np.unique(crop)) > 5


def test_files_that_nobody_listed_are_not_used(weights: Path, tmp_path: Path) -> None:
    check_metrics(opened(weights))
    assert missing(opened(weights)) == {"musiq": "metrics/musiq_koniq_ckpt-e95806b9.pth"}
    tiny.weights_folder(tmp_path)
    write_inception(tmp_path)
    with pytest.raises(WeightsError, match=r"6726825d\.pth is not listed in model_index\.json; remove it, or list it"):
        check_metrics(opened(tmp_path))
    list_files(tmp_path)
    with (tmp_path / INCEPTION).open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsError, match=r"6726825d\.pth does not match the sha256"):
        check_metrics(opened(tmp_path))
