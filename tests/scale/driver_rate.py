"""How many blocks a driver of Ray Data can move: `python -m tests.scale.driver_rate [BLOCKS]`.

The operators are those of a run (`pipeline/run/on_ray.py`): a task, two actor pools, a task. Their stages do nothing,
so that what remains is the driver's own work for each block: scheduling four tasks and following their results. Its CPU
seconds are counted, not the time, which on few cores is that of the workers. They include the driver's looks at results
that are not there yet, so on a busy machine the figure is too high. One core of a head then moves at most
1 / (CPU s per block) blocks a second, and so many times the photos in a block.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import psutil
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from pipeline.cluster import connect as cluster
from pipeline.cluster import ray_data

PHOTOS = 16  # in a block of photos of 1 MB (`pipeline/run/batching.py`, MAX_BLOCK_BYTES)


def same(table: pa.Table) -> pa.Table:
    return table


class Same:
    def __call__(self, table: pa.Table) -> pa.Table:
        return table


def chain(blocks: int, actors: int) -> Dataset:
    pool = ActorPoolStrategy(min_size=1, max_size=actors)
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    rows = ray.data.range(blocks * PHOTOS, override_num_blocks=blocks)
    return (
        rows.map_batches(same, batch_size=None, num_cpus=0.25, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.25, compute=pool, **arrow)
        .map_batches(Same, batch_size=None, num_cpus=0.25, compute=pool, **arrow)
        .map_batches(same, batch_size=None, num_cpus=0.25, **arrow)
    )


def measured(blocks: int) -> tuple[float, float]:
    """Seconds, and CPU seconds of the driver, for this many blocks."""
    process = psutil.Process()

    def used() -> float:
        return process.cpu_times().user + process.cpu_times().system

    begun, before = time.perf_counter(), used()
    for _ in chain(blocks, 2).iter_batches(batch_size=None, batch_format="pyarrow"):
        pass
    return time.perf_counter() - begun, used() - before


def main(blocks: int) -> None:
    cluster.connect(2)
    ray_data.quiet()
    few, _ = 200, measured(20)  # the first run starts workers
    first, second = measured(few), measured(few + blocks)
    seconds, cpu = (later - earlier for later, earlier in zip(second, first, strict=True))
    print("| blocks | s | driver's CPU ms per block | blocks/s of one core | photos/s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    each = cpu / blocks
    print(f"| {blocks} | {seconds:.1f} | {1000 * each:.2f} | {1 / each:.0f} | {PHOTOS / each:.0f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
