"""Blocks and the calls that they make: `python -m tests.scale.block_sizes [MEGABYTES [PHOTOS [MIB ...]]]`.

Without MEGABYTES, computes the calls of restore actors for photos of 1 to 20 MB with two faces each on average, and how
full their micro-batches are, on nodes of several sizes.

For photos of so many MB and blocks of so many MiB (16 and 64), measures what larger blocks spare and cost. First the
driver's work: light rows pass through stages that do nothing, in the blocks, calls and parts of a node of 64 GiB. Then
a run of PHOTOS (400) real photos on this disk with the stand-ins of `interlcm benchmark memory`, with one restore actor
and an object store of 4 GB: when the first photos are done, and the most memory of a process of each kind.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from jobs.benchmark.figures import markdown
from pipeline.benchmark import memory, photos, throughput
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.index.build import build_index
from pipeline.index.sources import expand
from pipeline.index.units import UNIT_PHOTOS
from pipeline.run import ledger, on_ray
from pipeline.run.batching import STORE_SHARE, BatchSizes, fitting
from tests.support import blocks

LIGHT = 6000  # photos of the light runs, after WARM of them
WARM = 600
UNITS = 40  # of computed photos
NODE, STORE = 64 << 30, 4_000_000_000  # bytes of memory of the node that the sizes are for; of the store here


def planned(megabytes: float, node: int = NODE) -> tuple[BatchSizes, Resources]:
    """For a large run on nodes with so many bytes of memory."""
    store = int(STORE_SHARE * node)
    wanted = Resources(max_actors=200, gpus_per_actor=1, batch_faces=32, find_batch=True)
    return fitting(10**8, megabytes * 1e6, 512, wanted, store, store)


def computed(gib: int, megabytes: float) -> dict[str, Any]:
    """The calls, as whole blocks make them; and if each were cut after as many photos as were planned."""
    sizes, fitted = planned(megabytes, gib << 30)
    units = [blocks.drawn(UNIT_PHOTOS, megabytes * 1e6, blocks.CROP, seed=seed) for seed in range(UNITS)]
    calls = list(blocks.calls(units, sizes))
    cut = [call[n : n + sizes.call_photos] for call in calls for n in range(0, len(call), sizes.call_photos)]
    whole, other = (
        100 * blocks.filled([sum(photo.faces for photo in call) for call in made], fitted.batch_faces)
        for made in (calls, cut)
    )
    return {
        "node": f"{gib} GiB",
        "photos of": f"{megabytes:g} MB",
        "photos in a block": UNITS
        * UNIT_PHOTOS
        / sum(len(list(blocks.fetched(one, sizes.block_bytes))) for one in units),
        "in a call, planned": sizes.call_photos,
        "mean": UNITS * UNIT_PHOTOS / len(calls),
        "most": max(map(len, calls)),
        "micro-batch": fitted.batch_faces,
        "filled %": whole,
        "cut, filled %": other,
    }


def sizes_of(megabytes: float, mib: int) -> tuple[BatchSizes, Resources]:
    sizes, resources = planned(megabytes)
    return replace(sizes, block_bytes=mib << 20), resources


def driven(megabytes: float, mib: int) -> dict[str, Any]:
    """The driver's CPU time for a photo, and the calls of the restore actor."""
    sizes, fitted = sizes_of(megabytes, mib)
    with TemporaryDirectory() as folder:
        made, sizes, stages = blocks.light(WARM + LIGHT, megabytes * 1e6, sizes, folder)
        dataset = on_ray.dataset(stages, blocks.pending(made), Resources(), sizes, ledger.book())
        done, begun, cpu = 0, 0.0, 0.0
        table: Any
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if done < WARM <= done + table.num_rows:
                begun, cpu, first = time.perf_counter(), time.process_time(), done + table.num_rows
            done += table.num_rows
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
        calls = blocks.noted(Path(folder, "calls"))
    read = list(blocks.fetched(made[:256], sizes.block_bytes))
    return {
        "photos of": f"{megabytes:g} MB",
        "blocks of": f"{mib} MiB",
        "photos in a block": 256 / len(read),
        "photos in a call": len(made) / len(calls),
        "of a micro-batch filled %": 100 * blocks.filled(map(sum, calls), fitted.batch_faces),
        "driver's CPU ms per photo": 1000 * cpu / (done - first),
        "photos/s here": (done - first) / seconds,
    }


def restored(megabytes: float, mib: int, output: str) -> dict[str, Any]:
    """A run with real photos and stand-ins for detector and model."""
    sizes, _ = sizes_of(megabytes, mib)
    throughput.batches = lambda pending, size, resources: (sizes, resources)
    cpu = time.process_time()
    found = memory.measure(output, Resources(batch_faces=8), 512)
    cpu = time.process_time() - cpu
    peaks: Counter[str] = Counter()
    for _, sample in found.samples:
        for name, size in sample.items():
            kind = name.rpartition(" ")[0]
            peaks[kind] = max(peaks[kind], size)
    return {
        "photos of": f"{megabytes:g} MB",
        "blocks of": f"{mib} MiB",
        "first photos after s": found.marks[0].seconds,
        "all after s": found.marks[-1].seconds,
        "CPU s per photo": found.cpu_seconds / found.marks[-1].photos,
        "driver's CPU ms per photo": 1000 * cpu / found.marks[-1].photos,
        **{f"{kind} MB": round(peaks[kind] / 1e6) for kind in memory.KINDS},
        "store MB": round(max(mark.stored for mark in found.marks) / 1e6),
        "spilled MB": round(found.marks[-1].spilled / 1e6),
    }


def main(megabytes: float = 0, count: int = 400, *mibs: int) -> None:
    if not megabytes:
        print(markdown([computed(gib, size) for gib in (16, 64, 256) for size in (1, 2, 5, 10, 20)]))
        return
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "30000")  # workers that wait are not ended
    cluster.connect(1, object_store=STORE)
    print(markdown([driven(megabytes, mib) for mib in mibs or (16, 64)]), flush=True)
    if not count:
        return
    with TemporaryDirectory(prefix="blocks-") as folder:
        size = int(megabytes * 1e6)
        photos.write_archives(f"{folder}/scans", count, size, size)
        rows = []
        for mib in mibs or (16, 64):
            output = f"{folder}/run-{mib}"
            build_index(expand([f"{folder}/scans"], output), output, Limits())
            rows.append(restored(megabytes, mib, output))
        print(markdown(rows))
    ray.shutdown()


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((float, int, int, int, int), sys.argv[1:], strict=False)))
