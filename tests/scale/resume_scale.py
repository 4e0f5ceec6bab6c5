"""Measure how a run of 10^7 photos resumes: python -m tests.scale.resume_scale FOLDER [PHOTOS [DONE_SHARE]]

Writes a made-up index and the manifest of a run that was stopped, then finds out in a process of its own what is left
and cuts it into units, as a run does before it starts Ray's chain. Prints times and the most memory that the process
held. FOLDER is left for a look at the files.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from pipeline.cluster import connect as cluster
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest.compaction import FILE_ROWS, GROUP_ROWS
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import MANIFEST_SCHEMA
from tests.corpus.crashes import peak_memory
from tests.support.rows import START

PER_ARCHIVE = 50_000
ACTORS = 64


def ids(start: int, stop: int) -> pa.Array:
    """Ids of twenty hex digits, unordered like digests."""
    draw = np.random.default_rng(start).bytes(10 * (stop - start)).hex()
    return pa.array([draw[place : place + 20] for place in range(0, len(draw), 20)])


def texts(pattern: str, numbers: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pattern, pc.cast(numbers, pa.string()), ".tif", "")


def columns(start: int, stop: int) -> dict[str, pa.Array]:
    """photo_id, source and member of the photos of one archive."""
    count, numbers = stop - start, pa.array(np.arange(start, stop))
    source = pa.repeat(f"s3://archive/scans/box-{start // PER_ARCHIVE:05}.tar", count)
    return {"photo_id": ids(start, stop), "source": source, "member": texts("negatives/1927/scan-", numbers)}


def table(known: dict[str, pa.Array], schema: pa.Schema, rows: int) -> pa.Table:
    """The rest of the columns is null."""
    return pa.table({f.name: known.get(f.name, pa.nulls(rows, f.type)) for f in schema}, schema=schema)


def write(output: str, photos: int, done: float) -> None:
    """Write an index file for each archive, and done photos in files like those of compaction."""
    for folder in ("index", "manifest"):
        Path(output, folder).mkdir(parents=True, exist_ok=True)
    merged: list[pa.Table] = []
    for start in range(0, photos, PER_ARCHIVE):
        stop = min(start + PER_ARCHIVE, photos)
        count, known = stop - start, columns(start, stop)
        index = known | {
            "archive_name": pa.repeat(f"box-{start // PER_ARCHIVE:05}.tar", count),
            "archive_format": pa.repeat("tar", count),
            "kind": pa.repeat("file", count),
            "occurrence": pa.array(np.zeros(count, np.int32)),
            "bytes": pa.array(np.full(count, 8_000_000)),
            "stored_bytes": pa.array(np.full(count, 8_000_000)),
            "offset": pa.array(np.arange(count) * 8_000_512),
            "compression": pa.repeat("none", count),
        }
        pq.write_table(
            table(index, INDEX_SCHEMA, count), f"{output}/index/box-{start:016}.parquet", row_group_size=65536
        )
        results = known | {
            "status": pa.repeat("restored", count),
            "page": pa.array(np.ones(count, np.int32)),
            "pages": pa.array(np.ones(count, np.int32)),
            "face_count": pa.array(np.ones(count, np.int32)),
            "finished_at": pa.repeat(pa.scalar(START, MANIFEST_SCHEMA.field("finished_at").type), count),
            "sha256": pa.repeat("a" * 64, count),
        }
        merged.append(table(results, MANIFEST_SCHEMA, count).slice(0, int(count * done)))
        if sum(map(len, merged)) >= FILE_ROWS or stop == photos:
            path = f"{output}/manifest/merged-{start:09}.parquet"
            pq.write_table(pa.concat_tables(merged), path, row_group_size=GROUP_ROWS, compression="zstd")
            merged = []


def timed(what: str, work: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    found = work()
    print(f"{what}: {time.perf_counter() - begun:.1f} s, at most {peak_memory() >> 20} MB so far", flush=True)
    return found


def first_block(units: pa.Table) -> int:
    blocks = ray.data.from_arrow(units).repartition(target_num_rows_per_block=1).iter_batches(batch_size=None)
    return len(next(iter(blocks)))


def resume(output: str) -> None:
    """The driver's work before the first photo of a run, and its audit."""
    timed("Ray", lambda: cluster.connect(1))
    left = timed("what is left", lambda: pending(output))
    units = timed("units", lambda: left.units(ACTORS))
    timed("into Ray Data", lambda: first_block(units))
    found = timed("audit", lambda: counts(output))
    print(f"{len(left)} photos in {len(units)} units; adds up: {found.adds_up}, pending {found.pending}")


def main(output: str, photos: int = 10_000_000, done: float = 0.5) -> None:
    write(output, photos, done)
    print(f"{photos} index rows, {round(100 * done)} % of them done", flush=True)
    measured = multiprocessing.get_context("spawn").Process(target=resume, args=(output,))
    measured.start()
    measured.join()
    sys.exit(measured.exitcode)


if __name__ == "__main__":
    main(sys.argv[1], *(kind(text) for kind, text in zip((int, float), sys.argv[2:], strict=False)))
