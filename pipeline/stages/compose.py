"""The last stage where results are kept, not published: the restored file goes into the row, nothing is written."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from pipeline.config.job import Job
from pipeline.manifest.schema import FACE
from pipeline.stages import row
from pipeline.stages.publish import composed, measured
from pipeline.stages.row import Row

# The row after this stage: `faces` as in the manifest, and the restored file; null unless `status` is restored.
COMPOSED = pa.schema(
    [
        *(pa.field("faces", pa.list_(FACE)) if field.name == "faces" else field for field in row.SCHEMA),
        ("restored", pa.large_binary()),
        ("restored_format", pa.string()),
        ("restored_sha256", pa.string()),
    ]
)


def compose(table: pa.Table, job: Job) -> pa.Table:
    """Paste, score and encode; rows in = rows out, each with a status."""
    return pa.Table.from_pylist([finished(current, job) for current in table.to_pylist()], schema=COMPOSED)


def finished(current: Row, job: Job) -> Row:
    """The row of one photo. It keeps its crops and its bytes if it was restored."""
    if current["status"] is None:
        current = row.guarded(current, lambda open_row: with_file(open_row, job))
    return current if current["status"] == "restored" else {**current, "faces": []}


def with_file(current: Row, job: Job) -> Row:
    built = composed(current, job)
    return row.warned(current, built.warnings) | {
        "status": "restored",
        "faces": measured(current, job),
        "restored": built.data,
        "restored_format": built.format,
        "restored_sha256": hashlib.sha256(built.data).hexdigest(),
    }
