"""The engine for small runs: the chain of stages in this process, one thread per stage, without Ray.

While the model works, other threads fetch and detect the next photos. Decoders run in the sandbox's child processes, as
everywhere. A crash of the model ends the whole process, and there is no Ray to retry the photo elsewhere. So the next
start finds the lease of the dead process, and takes the photos that it may have had in progress one by one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress

import pyarrow as pa

from pipeline.index.units import Pending
from pipeline.run.chain import Stage, Work
from pipeline.run.lease import Lease
from pipeline.run.waiting import Facts
from pipeline.stages.fetch import BLOCK_PHOTOS
from pipeline.stages.row import WORKER_DIED, ended, to_table
from pipeline.storage import traffic

Tables = Generator[pa.Table, None, None]

THREAD = "stage "  # the prefix of the threads' names
WAITING = 4  # photos begun are at most this many times those in the stages: the others wait between stages
WAIT = 0.1  # seconds between checks whether the reader is still there


class Here:
    """The chain in this process; the thread that first uses a stage creates it, once."""

    def __init__(self, stages: Sequence[Stage], stopping: threading.Event) -> None:
        """stopping: once it is set, restored photos are still published; the others stay pending."""
        self.stages, self.stopping = stages, stopping
        self.made: dict[str, Work] = {}

    def tables(self, pending: Pending, lease: Lease) -> Iterator[pa.Table]:
        """The last stage's output for all of these photos.

        If the previous process died, the photos that it may have had in progress go first, one by one.
        """
        in_hand = BLOCK_PHOTOS + sum(stage.photos or 0 for stage in self.stages)
        suspects, others = pending.split(WAITING * in_hand if lease.before else 0)
        yield from self.alone(suspects, lease)
        yield from self.together(one_by_one(others.units(1)))

    def together(self, flow: Tables) -> Tables:
        """Pass tables through all stages, which work at the same time; yields the last stage's output."""
        *before, last = self.stages
        for stage, after in zip(before, self.stages[1:], strict=True):
            waiting = (after.photos or 1) // (stage.photos or BLOCK_PHOTOS)
            flow = ahead(self.each(stage, sized(flow, stage.photos)), max(1, waiting), stage.name)
        with closing(flow):
            yield from self.each(last, sized(flow, last.photos))

    def alone(self, pending: Pending, lease: Lease) -> Tables:
        """Pass photos through one by one, each noted in the lease; a photo that killed two processes fails."""
        fetch, *others = self.stages
        for table in self.each(fetch, one_by_one(pending.units(1))):
            for row in one_by_one(table):
                (photo,) = row["photo_id"].to_pylist()
                if photo == lease.died_alone:
                    row = died(row)
                else:
                    lease.hold(photo)
                flow = one_by_one(row)
                for stage in others:
                    flow = self.each(stage, flow)
                yield from flow
        if lease.alone:
            lease.hold("")

    def each(self, stage: Stage, tables: Tables) -> Tables:
        """One stage's output for these tables, until a stop; the last stage goes on, to commit what the others made."""
        for table in tables:
            for made in outputs(self.work(stage)(table)):
                if self.stopping.is_set() and stage is not self.stages[-1]:
                    return
                yield made

    def facts(self) -> Facts:
        """What this process is at."""
        return Facts.of(traffic.retries)

    def work(self, stage: Stage) -> Work:
        if stage.name not in self.made:
            self.made[stage.name] = stage.make(*stage.arguments)
        return self.made[stage.name]


def working(wait: float = 0.0) -> bool:
    """Whether a stage's thread is still in a call, after waiting up to `wait` seconds for it to end."""
    end = time.monotonic() + wait
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return any(thread.is_alive() for thread in threads)


def died(row: pa.Table) -> pa.Table:
    words = "the process died twice with this photo, the second time with it alone: a crash, or out of memory"
    return to_table([ended(row.to_pylist()[0], "failed", WORKER_DIED, words)])


def outputs(made: pa.Table | Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The tables that a stage returned, one or several."""
    return iter([made]) if isinstance(made, pa.Table) else made


def one_by_one(table: pa.Table) -> Tables:
    for place in range(table.num_rows):
        yield table.slice(place, 1)


def sized(tables: Tables, rows: int | None) -> Tables:
    """The same rows in tables of this many, the last one possibly smaller; None: as they come."""
    if rows is None:
        yield from tables
        return
    waiting = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows >= rows:
            yield waiting.slice(0, rows)
            waiting = waiting.slice(rows)
    if waiting is not None and waiting.num_rows:
        yield waiting


def ahead(tables: Tables, most: int, name: str) -> Tables:
    """The same tables, made by a thread up to `most` ahead of the reader. The thread's error is raised here."""
    made: queue.Queue[tuple[pa.Table | None, BaseException | None]] = queue.Queue(most)
    left = threading.Event()

    def put(table: pa.Table | None, error: BaseException | None = None) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                made.put((table, error), timeout=WAIT)
                return

    def work() -> None:
        try:
            with closing(tables):
                for table in tables:
                    put(table)
                    if left.is_set():
                        return
            put(None)
        except BaseException as error:
            put(None, error)

    threading.Thread(target=work, name=f"{THREAD}{name}", daemon=True).start()
    try:
        while True:
            table, error = made.get()
            if error is not None:
                raise error
            if table is None:
                return
            yield table
    finally:
        left.set()
