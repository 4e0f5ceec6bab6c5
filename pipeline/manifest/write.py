"""One manifest part: checked rows, written whole or not at all."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipeline import storage
from pipeline.manifest.schema import MANIFEST_SCHEMA, PENDING, REMOVED, REQUIRED, STATUSES
from pipeline.storage.output import Output


def write_part(rows: list[dict[str, Any]], output: str, attempt: str) -> str:
    """Append rows to the manifest as one Parquet file, whole or not at all, and return its URI.

    `rows` have the columns of `MANIFEST_SCHEMA` (absent ones become null; `box` and `landmarks` of a face are lists).
    The file's name comes from `attempt` and the photo_ids, so a retried task overwrites its own file, while a further
    attempt at the same photos appends. Raises `ValueError` for invalid rows.
    """
    if not rows:
        raise ValueError("a manifest part needs at least one row")
    for row in rows:
        _check(row)
    digest = hashlib.sha256("\0".join([attempt, *(row["photo_id"] for row in rows)]).encode()).hexdigest()
    uri = storage.join(Output(output).manifest, f"part-{digest[:20]}.parquet")
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), sink, compression="zstd")
    storage.write_bytes(uri, sink.getvalue().to_pybytes())
    return uri


def _check(row: dict[str, Any]) -> None:
    unknown = row.keys() - set(MANIFEST_SCHEMA.names)
    if unknown:
        raise ValueError(f"not in the manifest's schema: {', '.join(sorted(unknown))}")
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise ValueError(f"a manifest row needs {', '.join(missing)}")
    if row["status"] not in (*STATUSES, PENDING, REMOVED):
        known = ", ".join((*STATUSES, PENDING, REMOVED))
        raise ValueError(f"status {row['status']!r} of photo {row['photo_id']} is not one of {known}")
