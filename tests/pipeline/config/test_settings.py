"""The job of every worker: settings with a digest, checked weights, and secrets that cannot be printed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from interlcm.weights_index import WeightsError
from pipeline.config.resources import DETECT_GPUS, Resources
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.weights.local import checked_weights
from tests.support import tiny
from tests.support.stages import job

SECRET = "marker-of-a-secret-91c2"


def test_a_job_never_shows_its_secrets(tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data._internal.metadata_exporter import sanitize_for_struct

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    prepared = job(tmp_path, tiny_weights)
    assert SECRET not in repr(prepared)
    assert SECRET not in json.dumps(sanitize_for_struct({"job": prepared}), default=str)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    prepared.environment.use()

    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET


def test_the_digest_counts_what_changes_a_result() -> None:
    assert Settings().digest() == Settings(weights="elsewhere").digest()
    others = [Settings(steps=2), Settings(seed=1), Settings(color_fix="adain"), Settings(detector="haar")]
    others.append(Settings(strength=0.5))
    assert len({Settings().digest(), *(other.digest() for other in others)}) == 6
    assert Environment({"AWS_SECRET_ACCESS_KEY": SECRET}).__repr__() == "Environment(hidden)"
    assert "environment" not in asdict(Settings())


def test_a_node_with_other_weights_is_refused(tmp_path: Path, tiny_weights: str) -> None:
    prepared = job(tmp_path / "out", tiny_weights)
    assert checked_weights(prepared).folder == Path(tiny_weights)
    other = str(tmp_path / "other")
    tiny.weights_folder(Path(other), seed=1)
    elsewhere = replace(prepared, settings=replace(prepared.settings, weights=other))
    with pytest.raises(WeightsError, match="use the same weights everywhere"):
        checked_weights(elsewhere)


@pytest.mark.parametrize(
    ("actors", "each", "gpus", "spare"),
    [
        (4, 1.0, 4, 0),
        (3, 1.0, 4, 1),
        (3, 1.0, 8, 5),
        (2, 2.0, 5, 1),
        (4, 0.5, 2, 0),
        (3, 0.5, 2, 0),  # two of them may be on one, one on the other
        (3, 0.5, 3, 1),
        (2, 0.4, 1, 0),  # a fifth of a GPU is free, but no whole GPU
        (8, 1.0, 4, 0),
        (2, 0.0, 4, 0),  # the user chose the CPU
        (1, 0.0, 0, 0),
    ],
)
def test_faces_are_found_on_gpus_that_restore_actors_leave(actors: int, each: float, gpus: int, spare: int) -> None:
    resources = Resources(max_actors=actors, gpus_per_actor=each)
    assert resources.spare_gpus(gpus) == spare
    on_gpu = resources.with_detectors("retinaface_resnet50", 8, gpus, grows=False)
    assert (on_gpu.find_gpus, on_gpu.find_device) == ((DETECT_GPUS, "cuda") if spare else (0.0, "cpu"))
    assert on_gpu.detectors == (4 * spare or 4)
    for detector in ("haar", "none"):
        found = resources.with_detectors(detector, 8, gpus, grows=False)
        assert (found.find_gpus, found.detectors) == (0.0, 4)


@pytest.mark.parametrize(
    ("actors", "cpus", "gpus", "grows", "asked", "detectors", "find_gpus"),
    [
        (1, 4, 0, False, None, 2, 0.0),  # this machine: half a CPU each, and a quarter of all
        (200, 1, 0, True, None, 1600, 0.0),  # an empty cluster, to which nodes will come
        (200, 1, 0, True, 50, 200, DETECT_GPUS),  # with GPUs for detectors among them
        (200, 4000, 0, True, None, 2000, 0.0),
        (2, 4, 4, True, None, 8, DETECT_GPUS),  # GPUs that are there and free
        (2, 4, 4, True, 0, 16, 0.0),
        (2, 1, 0, False, 0, 1, 0.0),
    ],
)
def test_the_pool_of_detectors_is_sized_for_the_cluster_that_comes(
    actors: int, cpus: int, gpus: int, grows: bool, asked: int | None, detectors: int, find_gpus: float
) -> None:
    resources = Resources(max_actors=actors, gpus_per_actor=1, detect_gpus=asked)
    found = resources.with_detectors("retinaface_resnet50", cpus, gpus, grows)
    assert (found.detectors, found.find_gpus) == (detectors, find_gpus)


def test_on_one_gpu_retinaface_shares_it_with_the_restore_actor() -> None:
    one = Resources(gpus_per_actor=1)
    shared = one.on_one_gpu("retinaface_resnet50", 1)
    assert shared.gpus_per_actor + shared.find_gpus == 1 and shared.find_device == "cuda"
    assert one.on_one_gpu("yunet", 1) == one.on_one_gpu("retinaface_resnet50", 2) == one
    for other in (Resources(), Resources(gpus_per_actor=0.5), Resources(max_actors=2, gpus_per_actor=1)):
        assert other.on_one_gpu("retinaface_resnet50", 1) == other


def test_a_run_is_compiled_if_its_faces_pay_for_it() -> None:
    """46 faces/s become 61: 200,000 faces take 18 minutes less, and the compiler at most ten."""
    one, four = Resources(gpus_per_actor=1), Resources(max_actors=4, gpus_per_actor=0.5)
    assert one.with_compiler(200_000).compiled and not one.with_compiler(50_000).compiled
    assert four.with_compiler(800_000).compiled and not four.with_compiler(200_000).compiled
    assert not Resources().with_compiler(10**9).compiled  # on a CPU
