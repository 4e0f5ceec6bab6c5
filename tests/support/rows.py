"""Index and manifest rows for tests, and runs made of them."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipeline import storage
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.units import load
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA, SCHEMA_VERSION

START = datetime(2026, 1, 1, tzinfo=UTC)


def index_row(member: str, **columns: Any) -> dict[str, Any]:
    """An index row of the archive a.tar; `columns` replace or add."""
    row: dict[str, Any] = {
        "photo_id": f"id-{member}",
        "source": "a.tar",
        "archive_name": "a.tar",
        "archive_format": "tar",
        "member": member,
        "occurrence": 0,
        "kind": "file",
        "bytes": 10,
        "offset": 512,
        "stored_bytes": 10,
        "compression": "none",
    }
    return row | columns


def result_row(member: str, status: str = "restored", minute: int = 0, **columns: Any) -> dict[str, Any]:
    """A manifest row for `index_row(member)`, finished this many minutes after START."""
    row: dict[str, Any] = {
        "photo_id": f"id-{member}", "source": "a.tar", "member": member, "status": status, "face_count": 0, "faces": [],
        "finished_at": START + timedelta(minutes=minute),
    }  # fmt: skip
    return row | columns


def face(face_index: int, **columns: Any) -> dict[str, Any]:
    return {"face_index": face_index, "box": [1, 2, 3, 4], "landmarks": [[n, n] for n in range(5)], "seed": 7} | columns


def write_index(output: str, rows: list[dict[str, Any]], name: str = "a") -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), file)
    storage.write_bytes(storage.join(output, "index", f"{name}-0123456789abcdef.parquet"), file.getvalue())


def write_later_part(output: str, rows: list[dict[str, Any]]) -> str:
    """Write a manifest part as a later version may; returns its URI."""
    table = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    table = table.append_column("colour_of_the_frame", pa.array(["gold"] * len(rows)))
    file = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION + 1)}), file)
    uri = storage.join(output, "manifest", "part-later.parquet")
    storage.write_bytes(uri, file.getvalue())
    return uri


def pending_rows(output: str, where: str | None = None) -> pa.Table:
    """The index rows that a run would work on."""
    units = pending(output, where).units(actors=1).to_pylist()
    return pa.concat_tables([INDEX_SCHEMA.empty_table(), *(load(unit, output) for unit in units)])


def write_old_part(output: str, rows: list[dict[str, Any]]) -> None:
    """A manifest part as the first version wrote it, without a version number."""
    later = {"page", "pages", "monochrome", "mask", "warnings", "attempt", "rotation", "stage", "node", "traceback"}
    later |= {"reviewed_as", "reviewed_by", "reviewed_at"}
    new = ("landmark_error", "one_tone", "face_share", "strength", "accepted")
    face = pa.struct([column for column in FACE if column.name not in new])
    faces = pa.field("faces", pa.list_(pa.field("element", face)))
    kept = [column for column in MANIFEST_SCHEMA if column.name not in later]
    schema = pa.schema([faces if column.name == "faces" else column for column in kept])
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")
    storage.write_bytes(storage.join(output, "manifest", "part-old.parquet"), file.getvalue())
