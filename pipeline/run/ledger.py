"""The ledger of photos in progress: it finds, isolates and records a photo that kills its worker.

Ray restarts a dead worker and gives it the same photos, again and again. So each stage tells one small actor which
block of photos it begins and ends: two calls a block, not a photo, since few processes answer for the whole cluster.
When a worker dies, its block has begun but not ended. The next worker takes each photo of it alone, with two calls for
each, and after a second death the photo fails with `worker_died`. Photos are not blamed for a node that disappears.

`python -m tests.scale.ledger_rate` measures how many photos a second the ledger can follow.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster import demand, telemetry, worker_log
from pipeline.cluster.connect import ClusterError
from pipeline.run.chain import Stage, Work
from pipeline.run.waiting import Facts
from pipeline.stages.row import WORKER_DIED, ended, to_table
from pipeline.storage import traffic

DEATHS = 2  # of workers with a photo in progress, the last one with the photo alone; then the photo fails
ACTORS = 64  # most restore actors for one ledger, which can follow about 15 photos a second for each
TOLD = 1.0  # seconds for which a process remembers that the run goes on


class Ledger:
    """An actor beside the driver that knows which photos are in progress and whether the run should stop."""

    def __init__(self) -> None:
        self.in_progress: dict[tuple[str, str], str] = {}  # (stage, photo_id) -> node
        self.deaths: dict[tuple[str, str], list[str]] = {}  # the hosts where workers died
        self._stopping = False
        self._retries = traffic.Retries()

    def begin(self, stage: str, photos: list[str], node: str, last: bool = False) -> str:
        """Note the photos and answer "go", or note nothing and answer "alone" (take them one by one) or "stop".

        last: the caller is the last stage, which goes on after a stop to commit what the others made.
        """
        if self._stopping and not last:
            return "stop"
        keys = [(stage, photo) for photo in photos]
        if any(key in self.in_progress or key in self.deaths for key in keys):
            return "alone"
        self.in_progress.update(dict.fromkeys(keys, node))
        return "go"

    def begin_alone(self, stage: str, photo: str, node: str) -> str:
        """Note one photo. If it has killed too many workers, note nothing and answer with the host of the last one."""
        key = (stage, photo)
        before = self.in_progress.pop(key, None)
        host = "" if before is None else host_of(before)
        if host:
            self.deaths.setdefault(key, []).append(host)
        died = self.deaths.get(key, [])
        if len(died) >= DEATHS:
            return died[-1]
        self.in_progress[key] = node
        return ""

    def end(self, stage: str, photos: list[str]) -> None:
        for photo in photos:
            self.in_progress.pop((stage, photo), None)
            self.deaths.pop((stage, photo), None)

    def retried(self, count: int, words: str, throttled: bool) -> None:
        """Note a worker's retries of storage; words: about the last one. throttled: it asked for slower requests."""
        self._retries.add(words, throttled, count)

    def facts(self) -> Facts:
        """What the workers are at, without what the cluster itself knows."""
        return replace(Facts.of(self._retries), in_progress=dict(Counter(stage for stage, _ in self.in_progress)))

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping


def host_of(node: str) -> str:
    """The host name of a node that is there; empty for one that is gone."""
    return next((one["NodeManagerHostname"] for one in ray.nodes() if one["NodeID"] == node and one["Alive"]), "")


@dataclass(frozen=True)
class Book:
    """The ledgers of an attempt. The first photo of a block decides which one has it: Ray repeats a block as it was."""

    ledgers: tuple[Any, ...]

    def of(self, photo: str) -> Any:
        return self.ledgers[crc32(photo.encode()) % len(self.ledgers)]

    def stop(self) -> None:
        for one in self.ledgers:
            one.stop.remote()


def book(actors: int = 1) -> Book:
    """The ledgers for this many restore actors."""
    return Book(new(-(-actors // ACTORS)))


def new(count: int) -> tuple[Any, ...]:
    """New ledgers beside the driver. Ray ends them with the last reference."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    kind = ray.remote(num_cpus=0)(Ledger).options(**options)
    return tuple(kind.remote() for _ in range(count))


def look(book: Book) -> Facts:
    """What the workers are at, and what the cluster is asked for; little if its head is gone."""
    seen, here = demand.look(), Facts.of(traffic.retries)
    try:
        found = ray.get([one.facts.remote() for one in book.ledgers], timeout=demand.SECONDS)
    except ray.exceptions.RayError:  # includes GetTimeoutError
        return replace(here, demand=seen, on_ray=True)
    return replace(together([here, *found]), demand=seen, on_ray=True)


def together(found: Sequence[Facts]) -> Facts:
    """The facts of several processes in one."""
    counts: Counter[str] = Counter()
    for one in found:
        counts.update(one.in_progress)
    last = min(found, key=lambda one: math.inf if one.retried_ago is None else one.retried_ago)
    throttled = [one.throttled_ago for one in found if one.throttled_ago is not None]
    retries = sum(one.retries for one in found)
    return replace(last, in_progress=dict(counts), retries=retries, throttled_ago=min(throttled, default=None))


_told: dict[Book, float] = {}  # when this process last heard that its run goes on


def stopping(book: Book) -> bool:
    """Whether the run should stop; a process asks at most once in TOLD seconds."""
    if time.monotonic() - _told.get(book, -TOLD) < TOLD:
        return False
    if ray.get(book.of(str(os.getpid())).stopping.remote()):
        return True
    _told.clear()  # a process works for one run at a time
    _told[book] = time.monotonic()
    return False


class Retries:
    """Tells a ledger of this process's retries of storage, once in TOLD seconds."""

    def __init__(self, book: Book) -> None:
        self.ledger, self.waiting, self.told = book.of(str(os.getpid())), 0, 0.0
        self.lock = threading.Lock()  # the client of storage repeats requests in a thread of its own

    def __call__(self, words: str, throttled: bool) -> None:
        telemetry.storage_retried(1)
        with self.lock:
            self.waiting += 1
            if time.monotonic() - self.told >= TOLD:
                self.ledger.retried.remote(self.waiting, words, throttled)
                self.waiting, self.told = 0, time.monotonic()


class Isolated:
    """Actor: a stage that keeps the ledger.

    It keeps an error of the stage's constructor until the first photos arrive, and raises it then: Ray would wrap an
    error in an actor's constructor in a traceback.
    """

    def __init__(self, stage: Stage, book: Book) -> None:
        self.name, self.book = stage.name, book
        traffic.retries.tell = Retries(book)
        self.error: Exception | None = None
        try:
            self.work = stage.make(*stage.arguments)
        except ModuleNotFoundError as error:  # such as PyTorch, on a node for the stages that need none
            self.error = ClusterError(
                f"{socket.gethostname()}: {stage.name} needs {error.name}, which is not installed there; install "
                "'.[restore,cluster]' there; with --gpus-per-actor, only nodes with GPUs restore"
            )
        except Exception as error:
            self.error = error

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        if self.error is not None:
            raise self.error
        yield from isolated(table, self.work, self.name, self.book)


def isolated(table: pa.Table, work: Work, stage: str, book: Book, last: bool = False) -> Iterator[pa.Table]:
    """Apply `work` to a table of photos; a photo that killed its workers passes through as a failed row.

    Photos with a status only pass through, so they are not noted. After a stop only the last stage returns rows; the
    other photos stay pending.
    """
    log, node = worker_log.log(), ray.get_runtime_context().get_node_id()
    photos = table["photo_id"].filter(pc.is_null(table["status"])).to_pylist()
    ledger = book.of(photos[0] if photos else "")
    verdict = ray.get(ledger.begin.remote(stage, photos, node, last)) if photos else "go"
    if photos and verdict != "stop":
        log.info("%s begins %s%s", stage, " ".join(photos), ", one by one" if verdict == "alone" else "")
    if verdict == "go":
        yield from _outputs(work(table))
        if photos:
            ledger.end.remote(stage, photos)
    elif verdict == "alone":
        for place in range(table.num_rows):
            yield from _one(table.slice(place, 1), work, stage, ledger, node)


def _one(table: pa.Table, work: Work, stage: str, ledger: Any, node: str) -> Iterator[pa.Table]:
    (row,) = table.select(["photo_id", "status"]).to_pylist()
    if row["status"] is not None:
        yield from _outputs(work(table))
    elif host := ray.get(ledger.begin_alone.remote(stage, row["photo_id"], node)):
        words = f"its worker died {DEATHS} times in {stage}, finally with this photo alone: a crash, or out of memory"
        died = ended(table.to_pylist()[0], "failed", WORKER_DIED, words) | {"stage": stage, "node": host}
        yield from _outputs(work(to_table([died])))
    else:
        yield from _outputs(work(table))
        ledger.end.remote(stage, [row["photo_id"]])


def _outputs(made: pa.Table | Iterator[pa.Table]) -> Iterator[pa.Table]:
    if isinstance(made, pa.Table):
        yield made
    else:
        yield from made
