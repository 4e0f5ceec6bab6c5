from __future__ import annotations

import math
import time

import pyarrow as pa

from pipeline.run.estimate import faces_in, timed

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
