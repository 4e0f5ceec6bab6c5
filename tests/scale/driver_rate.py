"""How many blocks drivers of Ray Data can move: `python -m tests.scale.driver_rate [BLOCKS [DRIVERS]]`.

The operators are those of a run (`pipeline/run/on_ray.py`): a task, two actor pools, a task. Their stages do nothing,
so that what remains is the driver's own work for each block: scheduling four tasks and following their results. First
one driver moves the blocks, then two share them, and so on up to DRIVERS (3), as `interlcm restore --drivers` does: in
actors of their own, each with its part of the cluster.

The drivers' CPU seconds are counted, not the time, which on few cores is that of the workers. They include the drivers'
looks at results that are not there yet, so on a busy machine the figure is too high. One core of a head then moves at
most 1 / (CPU s per block) blocks a second, and so many times the photos in a block; with a core for each driver, so
many times the drivers.
"""

from __future__ import annotations

import os
import sys
import time
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
FEW = 100  # blocks that are not counted: those of a driver that begins


def same(table: pa.Table) -> pa.Table:
    return table


class Same:
    def __call__(self, table: pa.Table) -> pa.Table:
        return table


def chain(blocks: int) -> Dataset:
    """Each operator asks for other resources, as in a run: Ray Data makes one of those that ask for the same."""
    pool = ActorPoolStrategy(min_size=1, max_size=2)
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    rows = ray.data.range(blocks * PHOTOS, override_num_blocks=blocks)
    return (
        rows.map_batches(same, batch_size=None, num_cpus=0.25, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.2, compute=pool, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.3, compute=pool, **arrow)
        .map_batches(same, batch_size=None, num_cpus=0.2, **arrow)
    )


class Measured(Driver):
    def moved(self, blocks: int) -> tuple[float, float]:
        """Seconds, and CPU seconds of this driver, for this many blocks."""
        ray_data.quiet()
        begun, before = time.perf_counter(), sum(psutil.Process().cpu_times()[:2])
        for _ in chain(blocks).iter_batches(batch_size=None, batch_format="pyarrow"):
            pass
        return time.perf_counter() - begun, sum(psutil.Process().cpu_times()[:2]) - before


def measured(blocks: int, drivers: int) -> dict[str, Any]:
    kind: Any = ray.remote(num_cpus=0)(Measured)
    actors = [kind.remote(drivers) for _ in range(drivers)]
    share = blocks // drivers

    def moved(each: int) -> tuple[float, float]:
        """The longest time, and all CPU seconds."""
        found = ray.get([actor.moved.remote(each) for actor in actors])
        return max(seconds for seconds, _ in found), sum(cpu for _, cpu in found)

    moved(20)  # the first time starts workers
    first, second = moved(FEW), moved(FEW + share)
    seconds, cpu = (later - earlier for later, earlier in zip(second, first, strict=True))
    each = cpu / (share * drivers)
    return {
        "drivers": drivers,
        "blocks": share * drivers,
        "s here": seconds,
        "a driver's CPU ms per block": 1000 * each,
        "blocks/s, a core for each": drivers / each,
        "photos/s of 1 MB": drivers * PHOTOS / each,
    }


def main(blocks: int = 2000, most: int = 3) -> None:
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "30000")  # workers that wait are not ended
    cluster.connect(2, most)
    print(markdown([measured(blocks, drivers) for drivers in range(1, most + 1)]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
