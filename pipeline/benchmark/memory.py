"""How much memory a run takes while it streams many times the size of Ray's object store."""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
import ray

from pipeline.benchmark.processes import Watch
from pipeline.benchmark.throughput import stand_in_run
from pipeline.cluster.ray_private import object_store
from pipeline.config.resources import Resources

TENTHS = 10
KINDS = ("driver", "fetch", "find", "restore", "publish", "sandbox")
TASKS = {"MapBatches(fetch_open)": "fetch", "MapBatches(publish_open)": "publish", "MapWorker": "find or restore"}
PAUSE = 4.0  # seconds between samples: each reads the memory maps of all processes, which takes half a second
SECONDS = 0.02  # of the stand-in model for a micro-batch: little, so that the rest of the chain limits the run


@dataclass(frozen=True)
class Mark:
    """A moment of a run: its seconds, the photos done, bytes in the object store and bytes spilled so far."""

    seconds: float
    photos: int
    stored: int
    spilled: int


@dataclass(frozen=True)
class Measured:
    """Moments of one run, the samples of `Watch` by kind and number of process, and CPU seconds."""

    marks: list[Mark]
    samples: list[tuple[float, Counter[str]]]
    cpu_seconds: float


def photos_for(total: float, low: int, high: int) -> int:
    """Number of stand-in photos of `low` to `high` bytes that have about `total` bytes together."""
    mean = (high - low) / math.log(high / low) if high > low else low  # sizes are uniform on a logarithmic scale
    return max(TENTHS, math.ceil(total / mean))


def measure(output: str, resources: Resources, size: int) -> Measured:
    """Restore the index of OUTPUT with stand-ins and crops of `size` px. This process must have started Ray."""
    dataset, sheet = stand_in_run(output, resources, size, SECONDS)
    begun, photos = time.monotonic(), 0
    marks: list[Mark] = []
    done: Any
    with Watch(os.getpid(), kind, PAUSE) as watch:
        for done in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            photos += done.num_rows
            marks.append(Mark(time.monotonic() - begun, photos, *object_store()))
    restorers = {f"find or restore {call.actor}" for call in ray.get(sheet.calls.remote())}
    samples = [(seconds, named(memory, restorers)) for seconds, memory in watch.samples]
    return Measured(marks, samples, watch.cpu_seconds)


def kind(process: psutil.Process) -> str:
    """The role of a process of a run, by its present title, and its number."""
    title = " ".join(process.cmdline())
    if process.pid == os.getpid():
        name = "driver"
    elif "pipeline.sandbox.child" in title:
        name = "sandbox"
    else:
        name = next((name for part, name in TASKS.items() if title.startswith(f"ray::{part}")), "other")
    return f"{name} {process.pid}"


def named(memory: Counter[str], restorers: set[str]) -> Counter[str]:
    """Tell apart the actors of both stages, whose titles are the same: those of the third kept a timesheet."""
    return Counter(
        {
            name.replace("find or restore", "restore" if name in restorers else "find"): size
            for name, size in memory.items()
        }
    )


def table(of: Measured, limit: int) -> list[dict[str, Any]]:
    """One row for each tenth of the photos: the peak memory of one process of each kind, and the store's state.

    limit: bytes that the object store may hold.
    """
    total = of.marks[-1].photos
    times = [mark.seconds for mark in of.marks]
    rows = []
    for tenth in range(TENTHS):
        marks = [mark for mark in of.marks if place(mark.photos, total) == tenth]
        peaks: Counter[str] = Counter()
        for seconds, memory in of.samples:
            before = bisect_right(times, seconds)
            if place(of.marks[before].photos if before < len(times) else total, total) == tenth:
                for name, size in memory.items():
                    peaks[name.rpartition(" ")[0]] = max(peaks[name.rpartition(" ")[0]], size)
        stored = max((mark.stored for mark in marks), default=None)
        rows.append(
            {
                "tenth": tenth + 1,
                **{f"{name} MB": round(peaks[name] / 1e6) if name in peaks else None for name in KINDS},
                "store MB": None if stored is None else round(stored / 1e6),
                "of its limit %": None if stored is None else 100 * stored / limit,
                "spilled MB": max((round(mark.spilled / 1e6) for mark in marks), default=None),
            }
        )
    return rows


def cost(of: Measured) -> dict[str, Any]:
    """The cost of a photo, start-up included, and the pace of the last nine tenths, without it.

    The pace is None if one block brought them all.
    """
    end = of.marks[-1]
    start = next(mark for mark in of.marks if place(mark.photos, end.photos) > 0)
    pace = (end.photos - start.photos) / (end.seconds - start.seconds) if start is not end else None
    return {
        "run s": end.seconds,
        "photos/s after the first tenth": pace,
        "CPU s/photo": of.cpu_seconds / end.photos,
        "driver MB": max(size for _, seen in of.samples for name, size in seen.items() if "driver" in name) / 1e6,
        "all processes MB": max(sum(seen.values()) for _, seen in of.samples) / 1e6,
    }


def place(photos: int, total: int) -> int:
    """The tenth of the run in which this many photos were done."""
    return min(TENTHS - 1, (photos - 1) * TENTHS // total)
