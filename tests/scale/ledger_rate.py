"""How many photos a second the ledger can follow: `python -m tests.scale.ledger_rate`, a minute.

One process answers for the whole cluster, so its CPU time for a call is the limit, whatever else the machine does. Two
tasks begin and end blocks of photos as the stages do; the ledger's CPU seconds are read from the kernel. The first
table says what a call costs, the second what follows for whole runs: if detect notes each photo and each block of fetch
asks whether the run goes on, as it was once, and as it is.
"""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import pyarrow as pa
import ray

from jobs.benchmark.figures import markdown
from pipeline.cluster import connect as cluster
from pipeline.run import ledger
from pipeline.stages.fetch import BLOCK_PHOTOS
from pipeline.stages.row import to_table

SECONDS = 8.0
CALLERS = 2
PART_PHOTOS = 8
# Photos of this many MB: in a block, and in a call of a restore actor on a node of 16 GiB.
SIZES = {1: (BLOCK_PHOTOS, 14), 5: (4, 8), 20: (1, 3)}
FETCHERS = 400  # processes that fetch, each of which asks once a second whether the run goes on


class Measured(ledger.Ledger):
    def process(self) -> int:
        return os.getpid()


def worked(book: ledger.Book, photos: int, seconds: float, caller: int) -> int:
    """Blocks that one worker began and ended."""
    rows = to_table([{"photo_id": f"{caller:08x}{n:012x}", "status": None, "faces": []} for n in range(photos)])
    blocks, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in ledger.isolated(rows, _through, "detect", book):
            blocks += 1
    return blocks


def _through(table: pa.Table) -> pa.Table:
    return table


def cost(photos: int) -> dict[str, Any]:
    counted: Any = ray.remote(num_cpus=0)(Measured).remote()
    process, book = psutil.Process(ray.get(counted.process.remote())), ledger.Book((counted,))
    call = ray.remote(num_cpus=0.5)(worked)
    ray.get([call.remote(book, photos, 1.0, n) for n in range(CALLERS)])  # the processes are there
    before, begun = sum(process.cpu_times()[:2]), time.monotonic()
    blocks = sum(ray.get([call.remote(book, photos, SECONDS, n) for n in range(CALLERS)]))
    passed, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - before
    return {
        "photos in a block": photos,
        "calls/s here": 2 * blocks / passed,
        "ms of CPU a call": 1000 * used / (2 * blocks),
        "calls/s of one core": 2 * blocks / used,
        "photos/s of one stage and core": photos * blocks / used,
    }


def main() -> None:
    cluster.connect(actors=CALLERS)
    rows = [cost(photos) for photos in (1, PART_PHOTOS, BLOCK_PHOTOS)]
    print(markdown(rows))
    call = sum(row["ms of CPU a call"] for row in rows) / len(rows) / 1000
    print()
    print(markdown([of_run(call, *size) for size in SIZES.items()]))


def of_run(call: float, megabytes: int, photos: tuple[int, int]) -> dict[str, Any]:
    """Photos a second that one core follows, if a call takes it this many seconds."""
    block, together = photos
    others = 2 / together + 2 / PART_PHOTOS
    return {
        "photo MB": megabytes,
        "photos in a block": block,
        "of a restore call": together,
        "photos/s, a photo noted": 1 / (call * (1 / block + 2 + others)),
        "photos/s, a block noted": (1 / call - FETCHERS) / (2 / block + others),
    }


if __name__ == "__main__":
    main()
