"""How many blocks drivers of Ray Data can move: `python -m tests.scale.driver_rate [BLOCKS [DRIVERS [PERCENT]]]`.

The operators are those of a run (`pipeline/run/on_ray.py`): a task, two actor pools, a task. Their stages do nothing,
so that what remains is the driver's own work for each block: scheduling four tasks and following their results. First
one driver moves the blocks, then two share them, and so on up to DRIVERS (3), as `interlcm restore --drivers` does: in
actors of their own, each of which counts on an equal part of the cluster.

With PERCENT, each driver's process is stopped all the time but this share of it (SIGSTOP and SIGCONT, five times a
second, one driver after the other). So drivers and workers do not compete for the cores of a small machine: the
drivers are what limits the blocks, as on a head with a core for each, and the blocks a second of one, two and three
drivers show whether these add up. 100 / PERCENT times as many follow for whole cores, computed: what else the drivers
share, the head's other processes, would have to do as much more.

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
from typing import Any

import psutil
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from jobs.benchmark.figures import markdown
from pipeline.cluster import connect as cluster
from pipeline.cluster import ray_data
from pipeline.run.drivers import Driver

PHOTOS = 16  # in a block of photos of 1 MB (`pipeline/run/batching.py`, MAX_BLOCK_BYTES)
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


class Measured(Driver):
    def pid(self) -> int:
        return os.getpid()

    def moved(self, blocks: int, counted: int) -> tuple[float, float]:
        """Seconds, and CPU seconds of this driver, for the last `counted` of so many blocks."""
        ray_data.quiet()
        begun = before = 0.0
        for number, _ in enumerate(chain(blocks).iter_batches(batch_size=None, batch_format="pyarrow"), 1):
            if number == blocks - counted:
                begun, before = time.perf_counter(), used()
        return time.perf_counter() - begun, used() - before


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


def measured(blocks: int, drivers: int, most: int, share: float) -> dict[str, Any]:
    """One row: so many of `most` drivers, each with this share of the time; 0: as it comes."""
    kind: Any = ray.remote(num_cpus=0)(Measured)
    actors = [kind.remote(most) for _ in range(drivers)]
    each = blocks // drivers
    pids = ray.get([actor.pid.remote() for actor in actors])
    ray.get([actor.moved.remote(20, 10) for actor in actors])  # the first time starts workers
    with slowed(pids, share) if share else nullcontext():
        found = ray.get([actor.moved.remote(FEW + each, each) for actor in actors])
    for actor in actors:
        ray.kill(actor)
    cpu = sum(own for _, own in found) / (each * drivers)
    row = {
        "drivers": drivers,
        "blocks": each * drivers,
        "s here": max(seconds for seconds, _ in found),
        "a driver's CPU ms per block": 1000 * cpu,
    }
    if share:
        return row | {
            "of a core, each %": 100 * sum(own / seconds for seconds, own in found) / drivers,
            "blocks/s": sum(each / seconds for seconds, _ in found),
        }
    return row | {"blocks/s, a core for each": drivers / cpu, "photos/s of 1 MB": drivers * PHOTOS / cpu}


def main(blocks: int = 2000, most: int = 3, percent: int = 0) -> None:
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "30000")  # workers that wait are not ended
    cluster.connect(2, most)
    print(markdown([measured(blocks, drivers, most, percent / 100) for drivers in range(1, most + 1)]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
