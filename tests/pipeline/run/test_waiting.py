"""A run in which nothing moves says what it waits for, and after some minutes what to check."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import telemetry
from pipeline.cluster.demand import Demand
from pipeline.run import attempt, lease
from pipeline.run.progress import Progress
from pipeline.run.waiting import LONG, Facts, Waiting, Watch, repeated

GPU, CPU = {"CPU": 1.0, "GPU": 1.0}, {"CPU": 0.5}
NO_GPU = Demand(
    [(GPU, 2), (CPU, 1)],
    nodes=3,
    most={"CPU": 16.0},
    total={"CPU": 48.0, "GPU": 0.0},
    actors={"detect": (1, 0), "restore": (0, 2)},
)
COMING = Demand(
    [(GPU, 2)], nodes=1, most={"CPU": 16.0}, total={"CPU": 16.0}, coming={"gpu": 2}, refused={"gpu": "no quota"}
)
LOADING = Demand([], nodes=1, most={"CPU": 4.0, "GPU": 1.0}, total={"CPU": 4.0, "GPU": 1.0}, actors={"restore": (0, 1)})
OUTAGE = Facts(
    {"publish": 8}, 12, "s3://b/x: unreachable", 3.2, on_ray=True, demand=Demand(nodes=1, total={"CPU": 4.0})
)
THROTTLED = replace(OUTAGE, last_retry="s3://b/x: SlowDown", throttled_ago=3.2)


@pytest.mark.parametrize(
    ("facts", "line", "vain", "check"),
    [
        (
            Facts(demand=NO_GPU, on_ray=True),
            "nodes: 3 up with 48 CPU + 0 GPU; actors ready: detect 1 of 1, restore 0 of 2; "
            "no room for 2 x 1 CPU + 1 GPU, 1 x 0.5 CPU",
            "waiting in vain: no node has 1 GPU, and none is on its way",
            "start nodes that have it",
        ),
        (
            Facts(demand=COMING, on_ray=True),
            "nodes: 1 up with 16 CPU, 2 gpu on their way; gpu is refused: no quota; no room for 2 x 1 CPU + 1 GPU",
            "",
            "the account's quota, and the zone's free machines, for gpu",
        ),
        (
            Facts(demand=LOADING, on_ray=True),
            "nodes: 1 up with 4 CPU + 1 GPU; actors ready: restore 0 of 1",
            "",
            "whether each node reaches the weights",
        ),
        (
            OUTAGE,
            "nodes: 1 up with 4 CPU; photos in work: publish 8; "
            "storage retried, times: 12, the last 3 s ago: s3://b/x: unreachable",
            "",
            "the storage: its address",
        ),
        (
            THROTTLED,
            "nodes: 1 up with 4 CPU; photos in work: publish 8; "
            "storage asks for slower requests, retried, times: 12, the last 3 s ago: s3://b/x: SlowDown",
            "",
            "the storage's limit of requests: fewer actors",
        ),
        (Facts(on_ray=True), "the cluster's head does not answer", "", "whether the head's machine"),
    ],
)
def test_what_it_waits_for(facts: Facts, line: str, vain: str, check: str) -> None:
    early, late = Waiting(20.4, facts).lines, Waiting(LONG, facts).lines
    assert early == [f"waiting: no photo for 20 s; {line}", *([vain] if vain else [])]
    assert late[1 + bool(vain)].startswith(f"check: {check}")
    assert all("\n" not in words for words in late)


def test_a_run_without_a_cluster_is_quiet_unless_storage_makes_trouble() -> None:
    assert Waiting(LONG - 1, Facts()).lines == []
    waits, check = Waiting(LONG, Facts()).lines
    assert waits.endswith("; work goes on") and check.startswith("check: a stack of the process")
    assert Waiting(10, Facts(), "indexing").lines == ["waiting: indexing for 10 s; work goes on"]
    trouble = Facts(retries=3, last_retry="s3://b/x: unreachable", retried_ago=1.0)
    assert "times: 3" in Waiting(20, trouble).lines[0]


def test_it_speaks_only_while_nothing_moves() -> None:
    """With a real thread: it looks, until it has seen a photo after a stop."""
    done, told, quiet = [0], list[Waiting | None](), threading.Event()

    def tell(found: Waiting | None) -> None:
        told.append(found)
        if found is None:
            quiet.set()
        elif len(told) == 2:
            done[0] = 8

    with repeated(Watch(lambda: done[0], Facts, tell), 0.01):
        assert quiet.wait(60)
    first, second, third = told[:3]
    assert first is not None and second is not None and third is None
    assert 0 < first.seconds < second.seconds


def test_a_run_that_storage_slows_down_says_so_although_it_moves() -> None:
    done, facts, told = [0], [THROTTLED], list[Waiting | None]()
    watch = Watch(lambda: done[0], lambda: facts[0], told.append)
    for ago in (3.2, 70.0):
        done[0] += 8
        facts[0] = replace(THROTTLED, throttled_ago=ago)
        watch()
    slow, last = told
    words = "slow: storage asks for slower requests, retried, times: 12, the last 3 s ago: s3://b/x: SlowDown"
    assert slow is not None and slow.lines == [words] and last is None


def test_gauges_of_what_has_no_room_follow_a_run_that_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs come: the gauge falls, although the run waits for nothing from then on."""
    gauges: list[Any] = []
    monkeypatch.setattr(telemetry, "waiting", gauges.append)
    monkeypatch.setattr(telemetry, "progress", lambda *numbers: gauges.append(numbers[:2]))
    seen = [NO_GPU, replace(NO_GPU, waiting=[])]
    engine = attempt.Engine(iter(()), threading.Event(), lambda: Facts(demand=seen.pop(0), on_ray=True))
    progress = Progress(total=20)
    with lease.held(str(tmp_path)) as mine:
        look = attempt.watch(progress, mine, engine)
        look()
        progress.done = 8
        look()
    assert gauges == [{"CPU": 2.5, "GPU": 2.0}, (20, 20), {"CPU": 0.0, "GPU": 0.0}, (20, 12)]
    assert progress.waiting is None
