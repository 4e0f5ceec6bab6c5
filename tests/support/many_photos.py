"""A run of very many photos for tests of the report: index and manifest, and on request pictures."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.faces.alignment import TEMPLATE
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.report.display_copies import display_copies
from pipeline.report.pictures import row_folder, wanted
from tests.support import pictures as support_pictures
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


def link_pictures(report: str, max_side: int) -> None:
    """Give each photo of the run the same real display copies: folders that are links, one for each number of faces."""
    made = {}
    pixels = support_pictures.hopper(512)
    data = bytes(cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes())
    restored = bytes(cv2.imencode(".png", cv2.medianBlur(pixels, 7)[..., ::-1])[1].tobytes())
    points = (TEMPLATE * 0.6 + (110, 60)).tolist()
    for faces in range(4):
        made[faces] = Path(report, "copies", str(faces))
        made[faces].mkdir(parents=True)
        after = restored if faces else None
        for name, file in display_copies(data, 1, after, [points] * faces, max_side, Limits()).items():
            made[faces].joinpath(name).write_bytes(file)
    for row in wanted(str(Path(report).parent), "all").to_pylist():
        folder = Path(report, row_folder(row, max_side))
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(made[len(row["faces"])])


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
