"""Measure a large manifest: python -m tests.scale.manifest_scale FOLDER [PHOTOS [PHOTOS_PER_PART]]

Writes a made-up run of 10^5 photos in parts as a run commits them, compacts it, and asks it a few things. Prints file
counts, sizes and times; FOLDER is kept, so that you can look at the files. This is not a test.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest import query
from pipeline.manifest.compaction import compact
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA
from tests.support.rows import START, index_row, result_row, write_index

PER_ARCHIVE = 5000
random = np.random.default_rng(0)


def names(n: int) -> dict[str, Any]:
    source, member = f"s3://archive/scans/box-{n // PER_ARCHIVE:05}.tar", f"folder-{n // 100:05}/scan-{n:08}.tif"
    return {"photo_id": hashlib.sha256(str(n).encode()).hexdigest()[:20], "source": source, "member": member}


def photo(n: int) -> dict[str, Any]:
    """A manifest row with every column; digests and numbers compress as badly as real ones; one face on average."""
    row = result_row("", "failed" if n % 97 == 0 else "restored") | names(n)
    faces = [] if row["status"] == "failed" else [one_face(k, n) for k in range(int(random.integers(0, 3)))]
    sha256 = hashlib.sha256(str(-n).encode()).hexdigest()
    row |= {f"seconds_{stage}": float(random.random()) for stage in ("fetch", "detect", "restore", "compose")}
    row |= {name: int(random.integers(1000, 8000)) for name in ("width", "height", "bytes")}
    row |= {"sha256": sha256, "restored_sha256": sha256[::-1], "weights_digest": "a" * 64, "settings_digest": "b" * 64}
    row |= {"page": 1, "pages": 1, "format": "tiff", "bit_depth": 8, "detector": "haar", "mask": "ellipse"}
    row |= {"restored_uri": f"{row['source']}/{row['member']}", "face_count": len(faces), "faces": faces}
    return row | {"software_version": "0.1.0", "finished_at": START + timedelta(milliseconds=50 * n)}


def one_face(index: int, n: int) -> dict[str, Any]:
    numbers = {column.name: float(random.random()) for column in FACE if column.type == pa.float32()}
    points = random.random(14) * 1000
    lists = {"box": points[:4].tolist(), "landmarks": points[4:].reshape(5, 2).tolist()}
    return {**numbers, **lists, "face_index": index, "seed": n << 20, "needs_review": False, "review_reason": None}


def write(output: str, photos: int, per_part: int) -> None:
    for start in range(0, photos, PER_ARCHIVE):
        rows = [index_row("") | names(n) for n in range(start, min(start + PER_ARCHIVE, photos))]
        write_index(output, rows, name=f"box-{start:08}")
    Path(output, "manifest").mkdir()
    for start in range(0, photos, per_part):
        part = pa.Table.from_pylist([photo(n) for n in range(start, min(start + per_part, photos))], MANIFEST_SCHEMA)
        pq.write_table(part, Path(output, "manifest", f"part-{start:08}.parquet"), compression="zstd")


def timed(what: str, work: Callable[[], Any]) -> None:
    begun = time.perf_counter()
    found = work()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{what}: {time.perf_counter() - begun:.1f} s, at most {memory} MB so far; {found}", flush=True)


def sizes(output: str) -> str:
    files = [path.stat().st_size for path in Path(output, "manifest").iterdir()]
    return f"{len(files)} files, {sum(files) / 1e6:.1f} MB, the largest {max(files) / 1e6:.1f} MB"


def main(output: str, photos: int = 100_000, per_part: int = 8) -> None:
    one = f"FROM photos WHERE member = 'folder-{photos // 200:05}/scan-{photos // 2:08}.tif'"
    write(output, photos, per_part)
    print(f"{photos} photos: {sizes(output)}")
    timed("counts before", lambda: counts(output).adds_up)
    timed("compaction", lambda: compact(output))
    print(f"{photos} photos: {sizes(output)}")
    timed("counts", lambda: counts(output).adds_up)
    timed("pending", lambda: len(pending(output)))
    timed("one photo", lambda: query.reading(output, lambda connection: query.run(connection, one).num_rows))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
