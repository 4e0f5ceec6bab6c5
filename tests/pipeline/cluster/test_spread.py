"""Parallel calls, in threads and on Ray: results come in the order of the calls, and an error is raised."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.cluster import spread as cluster_spread
from pipeline.cluster.spread import spread
from pipeline.storage import traffic


def slower_first(number: int, of: int) -> int:
    time.sleep(0.02 * (of - number))
    return number


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def repeating(times: int) -> int:
    for _ in range(times):
        traffic.retries.add(f"call {times}", throttled=times == 3)
    return times


def test_in_threads() -> None:
    assert list(spread(slower_first, ((n, 5) for n in range(5)))) == [0, 1, 2, 3, 4]
    assert list(spread(odd, [])) == []
    found = spread(odd, [(1,), (3,), (4,), (5,)])
    assert [next(found), next(found)] == [1, 3]
    with pytest.raises(ValueError, match="4 is even"):
        next(found)


@pytest.mark.usefixtures("ray_cluster")
def test_on_ray() -> None:
    assert list(spread(slower_first, ((n, 5) for n in range(5)), cpus=0.5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="4 is even"):
        list(spread(odd, [(1,), (4,)]))


@pytest.mark.usefixtures("ray_cluster")
def test_what_storage_made_a_worker_repeat_counts_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "retries", traffic.Retries())
    calls = spread(repeating, [(0,), (2,), (3,), (1,)])
    assert [next(calls), traffic.retries.last] == [0, ""]
    assert [next(calls), traffic.retries.last, traffic.retries.throttled_ago] == [2, "call 2", None]
    assert [*calls] == [3, 1]
    assert (traffic.retries.count, traffic.retries.last) == (6, "call 1")
    assert traffic.retries.throttled_ago is not None


def test_calls_are_not_all_begun_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a million files must not become a million tasks before the first one is done."""
    monkeypatch.setattr(cluster_spread, "THREADS", 2)
    monkeypatch.setattr("pipeline.cluster.connect.cores", lambda: 1)
    begun = threading.Semaphore(0)

    def calls() -> Iterator[tuple[int, int]]:
        for number in range(100):
            begun.release()
            yield number, number

    found = spread(slower_first, calls())
    assert next(found) == 0
    taken = sum(begun.acquire(blocking=False) for _ in range(100))
    assert taken <= 6
