from __future__ import annotations

import math
import time

import pyarrow as pa
import pytest

from pipeline.config.resources import Prices, Resources
from pipeline.run.batching import fill
from pipeline.run.estimate import Estimate, Sample, faces_in, timed

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
