"""Inputs for the stages of a run: jobs, rows and index tables, made without Ray."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.config.settings import Settings
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from pipeline.run.prepare import prepare
from pipeline.stages import row
from pipeline.stages.row import Row
from tests.support.pictures import Pixels, encoded
from tests.support.rows import pending_rows


def job(output: Path | str, weights: str, **settings: Any) -> Job:
    """A job as a run would prepare it; `settings` are fields of Settings."""
    return prepare(str(output), Settings(weights=weights, detector="haar", **settings))


def photo_row(member: str, picture: Pixels | bytes, format: str = "JPEG", **columns: Any) -> Row:
    """Fetch's row for a member of the archive a.tar; a picture is encoded in `format`."""
    data = picture if isinstance(picture, bytes) else encoded(picture, format)
    open_row: Row = {
        "photo_id": hashlib.sha256(member.encode()).hexdigest()[:20],
        "source": "a.tar",
        "archive_name": "a.tar",
        "member": member,
        "occurrence": 0,
        "page": 1,
        "pages": 1,
        "bytes": len(data),
        "data": data,
        "faces": [],
    }
    return open_row | columns


def ended_row(member: str) -> Row:
    """A row that an earlier stage finished."""
    return row.ended(photo_row(member, b"text"), "failed", "member_unreadable", "gone") | {"stage": "fetch"}


def rows_of(stage: Any, rows: list[Row]) -> list[Row]:
    """A stage's output for these rows, all in one batch."""
    made = stage(row.to_table(rows))
    tables = [made] if isinstance(made, pa.Table) else list(made)
    return [one for table in tables for one in table.to_pylist()]


def indexed(source: Path, output: Path) -> pa.Table:
    """The index rows of one archive or folder, as a new run finds them."""
    kind = "folder" if source.is_dir() else "archive"
    target = storage.join(str(output), "index", f"{source.name}-0123456789abcdef.parquet")
    write_archive(Source(str(source), kind), source.name, target, str(output), Limits())
    return pending_rows(str(output))
