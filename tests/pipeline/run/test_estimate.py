from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from pipeline.config.job import Job
from pipeline.config.resources import DETECT_GPUS, Prices, Resources
from pipeline.config.settings import Settings
from pipeline.manifest.pending import pending
from pipeline.run.batching import fill
from pipeline.run.estimate import Estimate, Sample, chosen, estimate, faces_in, gpus_of_sample, measured, timed
from pipeline.run.prepare import prepare
from tests.support.networks import list_files, write_retinaface
from tests.support.pictures import encoded, hopper
from tests.support.stages import indexed

ROWS = pa.table({"photo": list(range(20)), "faces": [[{"n": 1}]] * 20})


def slow(rows: pa.Table) -> pa.Table:
    time.sleep(0.02 * len(rows))
    return rows


def test_a_cpu_stops_when_it_has_measured_enough() -> None:
    done, seconds = timed(slow, ROWS, enough=0.1)
    assert 0 < len(done) < 20
    assert seconds >= 0.02 * len(done)
    assert faces_in(done) == len(done)
    assert done["photo"].to_pylist() != sorted(done["photo"].to_pylist())  # not just the first ones


def test_a_gpu_gets_them_in_one_call() -> None:
    calls = []
    done, _ = timed(lambda rows: calls.append(len(rows)) or rows, ROWS, math.inf)  # type: ignore[func-returns-value]
    assert (calls, len(done)) == ([20], 20)


SAMPLE = Sample(photos=32, faces=64, restored=64, restore_seconds=8.0, other_seconds=16.0, batch_faces=16)
FOUND = Estimate(photos=1_000_000, bytes=0, sample=SAMPLE, call_photos=5)


def test_the_padding_of_the_planned_calls_costs_time() -> None:
    """Five photos a call: ten faces on average in micro-batches of 16, which take two seconds each, full or not."""
    assert SAMPLE.seconds_per_place == pytest.approx(1 / 8)
    assert FOUND.fill == fill(10.0, 16) == pytest.approx(0.6, abs=0.05)
    assert FOUND.seconds_per_face == pytest.approx(1 / 8 / FOUND.fill)
    one_by_one = Estimate(100, 0, Sample(32, 64, 10, 20.0, 1.0), call_photos=1)  # on a CPU, which measured ten
    assert (one_by_one.fill, one_by_one.seconds_per_face) == (1.0, 2.0)
    padded = Sample(32, 40, 40, 6.0, 1.0, batch_faces=16)  # 48 places
    assert padded.seconds_per_place == pytest.approx(1 / 8)


def test_time_cpus_and_money() -> None:
    hours = 2_000_000 / 8 / FOUND.fill / 3600
    assert FOUND.actor_hours == pytest.approx(hours)
    assert FOUND.hours(8) == pytest.approx(hours / 8)
    assert FOUND.cpu_hours == pytest.approx(1_000_000 / 2 / 3600)
    assert FOUND.cpus(8) == pytest.approx(FOUND.cpu_hours / (hours / 8))
    prices = Prices(gpu=0.8, cpu=0.05)
    on_gpus = FOUND.cost(Resources(max_actors=8, gpus_per_actor=0.5), prices)
    assert on_gpus == pytest.approx((hours * 0.5 * 0.8, FOUND.cpu_hours * 0.05))
    on_cpus = FOUND.cost(Resources(max_actors=8, threads=4), prices)
    assert on_cpus == pytest.approx((0.0, (FOUND.cpu_hours + 4 * hours) * 0.05))
    nothing = Estimate(0, 0, Sample(0, 0, 0, 0.0, 0.0), call_photos=1)
    assert (nothing.actor_hours, nothing.hours(8), nothing.cpus(8)) == (0.0, 0.0, 0.0)


# Of each photo, a detector on a GPU takes 3 s, the restore actor one, and the stages on CPUs half of one.
ON_GPUS = Estimate(
    photos=3600,
    bytes=0,
    sample=Sample(10, 20, 20, restore_seconds=10.0, other_seconds=5.0, gpu_detect_seconds=30.0),
    call_photos=8,
    find_gpus=DETECT_GPUS,
    detectors=8,
)


def test_detectors_on_gpus_cost_their_share_of_them() -> None:
    resources = Resources(min_actors=2, max_actors=4, gpus_per_actor=1)
    assert (ON_GPUS.actor_hours, ON_GPUS.detect_hours) == pytest.approx((1.0, 3.0))
    assert ON_GPUS.detect_gpu_hours == pytest.approx(0.75)
    assert ON_GPUS.hours(2) == pytest.approx(1 / 2)
    assert ON_GPUS.hours(4) == pytest.approx(3 / 8)  # eight detectors take longer than four actors
    assert ON_GPUS.cpus(4) == pytest.approx(0.5 / (3 / 8))
    assert ON_GPUS.cost(resources, Prices(gpu=4.0, cpu=2.0)) == pytest.approx((1.75 * 4, 0.5 * 2))


@pytest.mark.parametrize(
    ("each", "find", "task"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 1.0),
        (0.5, 0.0, 0.5),
        (1.0, DETECT_GPUS, 1.0),  # the detector has a GPU of its own, and works in the sample before the model
        (2.0, DETECT_GPUS, 2.0),
        (0.5, DETECT_GPUS, 0.75),
        (0.75, DETECT_GPUS, 1.0),  # they share one
        (0.9, DETECT_GPUS, 1.0),  # Ray takes no 1.15
        (0.0, DETECT_GPUS, DETECT_GPUS),
    ],
)
def test_the_sample_has_a_gpu_for_its_detector(each: float, find: float, task: float) -> None:
    assert gpus_of_sample(Resources(gpus_per_actor=each, find_gpus=find)) == task


@pytest.fixture
def with_retinaface(tmp_path: Path, tiny_weights: str) -> Job:
    """A job with RetinaFace, whose index has one photo."""
    photos, output, weights = tmp_path / "scans", tmp_path / "out", tmp_path / "weights"
    photos.mkdir()
    (photos / "a.png").write_bytes(encoded(hopper(96), "PNG"))
    indexed(photos, output)
    shutil.copytree(tiny_weights, weights)
    write_retinaface(weights, "retinaface_mobile0.25")
    list_files(weights)
    settings = Settings(weights=str(weights), detector="retinaface_mobile0.25", dtype="float32", mask="ellipse")
    return prepare(str(output), settings)


def test_the_sample_finds_faces_where_the_run_would(with_retinaface: Job) -> None:
    """On Ray there is a GPU for detectors, as the user says; without Ray the detector of this run is on the CPU."""
    resources = Resources(detect_gpus=1)
    here = estimate(with_retinaface, resources, ray_from=math.inf)
    assert (here.photos, here.find_gpus, here.sample.gpu_detect_seconds) == (1, 0.0, 0.0)
    if torch.cuda.is_available():
        on_ray = estimate(with_retinaface, resources, ray_from=1)
        assert (on_ray.find_gpus, on_ray.detectors) == (DETECT_GPUS, 4) and on_ray.sample.gpu_detect_seconds > 0
    else:
        with pytest.raises((AssertionError, RuntimeError), match="CUDA|NVIDIA"):
            estimate(with_retinaface, resources, ray_from=1)


def test_detection_on_gpus_is_timed_apart(with_retinaface: Job) -> None:
    """With Haar cascades, which take no GPU: what is tested is the clock."""
    job = replace(with_retinaface, settings=replace(with_retinaface.settings, detector="haar"))
    units = chosen(pending(job.output))
    on_gpu, on_cpu = measured(units, job, Resources(find_gpus=DETECT_GPUS)), measured(units, job, Resources())
    assert on_gpu.gpu_detect_seconds > 0 == on_cpu.gpu_detect_seconds
    assert on_gpu.faces == on_gpu.restored == on_cpu.faces == 1
