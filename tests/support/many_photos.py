"""A run of very many photos, with only index and manifest, for tests of the report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from pipeline import storage
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest.schema import MANIFEST_SCHEMA
from tests.support.rows import START, face, index_row, result_row

SOURCES = 40


def write_run(output: str, photos: int) -> None:
    """Write index and manifest of `photos` photos in SOURCES archives: nine in ten restored, one to three faces."""
    draw = np.random.default_rng(0)
    psnr, eyes, count = draw.normal(27, 4, photos), draw.lognormal(4, 0.5, photos), draw.integers(1, 4, photos)
    indexed, results = [], []
    for n in range(photos):
        known: dict[str, Any] = {
            "photo_id": f"{n:020x}",
            "source": f"s3://archive/scans/reel-{n * SOURCES // photos:03d}.tar",
        }
        member = f"1927/portraits/sheet {n // 100:04d}/frame_{n:06d}.tif"
        indexed.append(index_row(member, offset=512 * n, **known))
        seen: dict[str, Any] = {
            "width": 4000,
            "height": 3000,
            "bit_depth": 16,
            "format": "tiff",
            "bytes": 10,
            "seconds_restore": 0.4,
        }
        known |= {"finished_at": START + timedelta(seconds=0.2 * n), "page": 1, "pages": 1}
        if n % 10 == 9:
            results.append(result_row(member, "no_face" if n % 20 == 9 else "failed", error_type="truncated", **known))
            continue
        faces = [measured(place, psnr[n] - place, eyes[n]) for place in range(count[n])]
        results.append(result_row(member, faces=faces, face_count=len(faces), **seen | known))
    write(storage.join(output, "index", "many-0123456789abcdef.parquet"), indexed, INDEX_SCHEMA)
    write(storage.join(output, "manifest", "part-many.parquet"), results, MANIFEST_SCHEMA)


def measured(place: int, psnr: float, eyes: float) -> dict[str, object]:
    review = {"needs_review": bool(psnr < 18), "review_reason": "changed a lot" if psnr < 18 else None}
    measures = {"psnr": psnr, "ssim": 0.8, "delta_e": 60 / psnr, "eye_distance": eyes, "score": 0.9}
    return face(
        place, sharpness_before=eyes * 9, sharpness_after=eyes * 5, identity_similarity=psnr / 40, **measures, **review
    )


def write(uri: str, rows: list[dict[str, object]], schema: pa.Schema) -> None:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    storage.write_bytes(uri, sink.getvalue().to_pybytes())
