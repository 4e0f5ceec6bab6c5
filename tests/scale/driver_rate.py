"""How many blocks drivers of Ray Data can move: `python -m tests.scale.driver_rate [BLOCKS [DRIVERS [PERCENT [MB]]]]`.

The operators are those of a run (`pipeline/run/on_ray.py`): a task, two actor pools, a task. Their stages do nothing,
so that what remains is the driver's own work for each block: scheduling four tasks and following their results. First
one driver moves the blocks, then two share them, and so on up to DRIVERS (3), as `interlcm restore --drivers` does: in
actors of their own, each of which counts on an equal part of the cluster.

With PERCENT, each driver's process is stopped all the time but this share of it (SIGSTOP and SIGCONT, five times a
second, one driver after the other). So drivers and workers do not compete for the cores of a small machine: the
drivers are what limits the blocks, as on a head with a core for each, and the blocks a second of one, two and three
drivers show whether these add up. 100 / PERCENT times as many follow for whole cores, computed: what else the drivers
share, the head's other processes, would have to do as much more.

With MB, the operators are those of a run itself, and light rows pass through them in the blocks, calls and parts of
photos of so many MB on a node of 64 GiB; then BLOCKS counts photos.

Without PERCENT, the drivers' CPU seconds are what counts, not the time, which on few cores is that of the workers.
A driver that waits looks for results again and again, so on a busy machine the figure is too high.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from jobs.benchmark.figures import markdown
from pipeline.cluster import connect as cluster
from pipeline.cluster import ray_data
from pipeline.config.resources import Resources
from pipeline.run import ledger, on_ray
from pipeline.run.batching import STORE_SHARE, fitting
from pipeline.run.drivers import Driver
from tests.support import blocks

PHOTOS = 16  # in a block of photos of 1 MB
NODE = 64 << 30  # bytes of memory of the node that the blocks are for
FEW = 40  # blocks that are not counted: those of a driver that begins
TURN = 0.2  # s in which each driver runs once


def same(table: pa.Table) -> pa.Table:
    return table


class Same:
    def __call__(self, table: pa.Table) -> pa.Table:
        return table


def chain(blocks: int) -> Dataset:
    """Each operator asks for other resources, as in a run: Ray Data makes one of those that ask for the same."""
    pool = ActorPoolStrategy(min_size=1, max_size=1)
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    rows = ray.data.range(blocks * PHOTOS, override_num_blocks=blocks)
    return (
        rows.map_batches(same, batch_size=None, num_cpus=0.25, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.2, compute=pool, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.3, compute=pool, **arrow)
        .map_batches(same, batch_size=None, num_cpus=0.2, **arrow)
    )


def restoring(photos: int, megabytes: float, folder: str) -> Dataset:
    """The operators of a run, with light rows and stages that do nothing."""
    store = int(STORE_SHARE * NODE)
    wanted = Resources(max_actors=200, gpus_per_actor=1, batch_faces=32, find_batch=True)
    sizes, _ = fitting(10**8, megabytes * 1e6, 512, wanted, store, store)
    made, sizes, stages = blocks.light(photos, megabytes * 1e6, sizes, folder)
    return on_ray.dataset(stages, blocks.pending(made), Resources(), sizes, ledger.book())


class Measured(Driver):
    def pid(self) -> int:
        return os.getpid()

    def moved(self, few: int, count: int, megabytes: float) -> tuple[int, float, float]:
        """About `count` blocks or photos after the first few: their number, seconds, and this driver's CPU seconds."""
        ray_data.quiet()
        done = first = 0
        begun = before = 0.0
        table: Any
        with TemporaryDirectory() as folder:
            dataset = restoring(few + count, megabytes, folder) if megabytes else chain(few + count)
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                done += table.num_rows if megabytes else 1
                if not begun and done >= few:
                    first, begun, before = done, time.perf_counter(), used()
        return done - first, time.perf_counter() - begun, used() - before


def used() -> float:
    """CPU seconds of this process."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


@contextmanager
def slowed(pids: list[int], share: float) -> Iterator[None]:
    """Inside this block, each of these processes runs only for this share of the time, never two at once."""
    over, part = threading.Event(), TURN / len(pids)

    def take_turns() -> None:
        while not over.is_set():
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
                time.sleep(TURN * share)
                os.kill(pid, signal.SIGSTOP)
                time.sleep(max(0.0, part - TURN * share))

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=take_turns, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def measured(count: int, drivers: int, most: int, share: float, megabytes: float) -> dict[str, Any]:
    """One row: so many of `most` drivers, each with this share of the time; 0: as it comes."""
    kind: Any = ray.remote(num_cpus=0)(Measured)
    actors = [kind.remote(most) for _ in range(drivers)]
    what = f"photos of {megabytes:g} MB" if megabytes else "blocks"
    few = PHOTOS * FEW if megabytes else FEW
    pids = ray.get([actor.pid.remote() for actor in actors])
    ray.get([actor.moved.remote(10, 10, megabytes) for actor in actors])  # the first time starts workers
    with slowed(pids, share) if share else nullcontext():
        found = ray.get([actor.moved.remote(few, count // drivers, megabytes) for actor in actors])
    for actor in actors:
        ray.kill(actor)
    cpu = sum(own for *_, own in found) / sum(done for done, *_ in found)
    row = {
        "drivers": drivers,
        what: sum(done for done, *_ in found),
        "s here": max(seconds for _, seconds, _ in found),
        f"a driver's CPU ms for one of the {what}": 1000 * cpu,
    }
    if share:
        return row | {
            "of a core, each %": 100 * sum(own / seconds for _, seconds, own in found) / drivers,
            f"{what}/s": sum(done / seconds for done, seconds, _ in found),
        }
    return row | {f"{what}/s, a core for each": drivers / cpu}


def main(count: int = 2000, most: int = 3, percent: int = 0, megabytes: float = 0) -> None:
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "30000")  # workers that wait are not ended
    cluster.connect(2, most)
    print(markdown([measured(count, drivers, most, percent / 100, megabytes) for drivers in range(1, most + 1)]))


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, int, int, float), sys.argv[1:], strict=False)))
