"""The photos of a run as the report's data files: pages of rows to show, and columns to sort and filter by."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.schema import NEWEST_FIRST, PENDING, REMOVED
from pipeline.report.columns import FACE_METRICS, Columns, Numbers, counts, joined, numbers_of, write_columns
from pipeline.report.doubt import doubt
from pipeline.report.files import PAGE_ROWS, DataFiles, Parts, rounded
from pipeline.report.pictures import CHOICES, NEWEST, ORDER, folder
from pipeline.storage.output import Output

BATCH_ROWS = 10_000
NAME_ROWS = 20_000  # in one file of names
VERSION_DIGITS = 8  # of restored_sha256: enough to see that a photo has another result now
# The results that `interlcm decide` made one of another: a decision on one of them is about the photo as it is now.
RESULTS = f"""
WITH log AS (
    SELECT photo_id, restored_sha256, reviewed_at,
        row_number() OVER (PARTITION BY photo_id ORDER BY {NEWEST_FIRST}) AS age
    FROM manifest SEMI JOIN (SELECT photo_id FROM newest WHERE reviewed_at IS NOT NULL) USING (photo_id)
), made AS (SELECT photo_id, min(age) AS age FROM log WHERE reviewed_at IS NULL GROUP BY photo_id)
SELECT photo_id, string_agg(DISTINCT restored_sha256[:{VERSION_DIGITS}], ' ')
FROM log JOIN made USING (photo_id) WHERE log.age <= made.age AND restored_sha256 IS NOT NULL GROUP BY photo_id
"""
# Columns of a photo, besides its faces; `seconds` is the time of all stages.
SHOWN = (
    *("photo_id", "member", "page", "pages", "format", "width", "height", "bit_depth", "bytes", "monochrome"),
    *("status", "error_type", "error", "warnings", "detector", "mask", "seconds", "finished_at"),
    "restored_sha256",
)
SECONDS = " + ".join(f"coalesce(seconds_{stage}, 0)" for stage in ("fetch", "detect", "restore", "compose"))


@dataclass
class Pictures:
    """Which photos have display copies: those of a `choice` (a key of CHOICES) that are not in `failed`."""

    choice: str
    max_side: int
    failed: dict[str, str]


def write_photos(output: str, files: DataFiles, pictures: Pictures) -> tuple[dict[str, Any], Columns]:
    """Write the pages, names and columns of all photos that have a result.

    Returns what the page needs to know about these files, and the columns. `digest` names the results: the SHA-256 of
    the lines "photo_id restored_sha256" in the report's order.
    """
    return query.reading(
        output, lambda connection: _write_photos(connection, output, files, pictures), decided=False, whole=True
    )


def _write_photos(
    connection: duckdb.DuckDBPyConnection, output: str, files: DataFiles, pictures: Pictures
) -> tuple[dict[str, Any], Columns]:
    pages = Parts(files, "photos", PAGE_ROWS)
    texts = {name: Parts(files, name, NAME_ROWS) for name in ("names", "ids", "versions", "sources")}
    sources: dict[str, int] = {}
    digest = hashlib.sha256()
    decided = dict(connection.sql(RESULTS).fetchall())
    collected: list[dict[str, Numbers]] = []
    for batch in batches(connection, pictures.choice):
        ids, results = batch["photo_id"].to_pylist(), [sha or "" for sha in batch["restored_sha256"].to_pylist()]
        versions = [decided.get(one, sha[:VERSION_DIGITS]) for one, sha in zip(ids, results, strict=True)]
        for row, version in zip(page_rows(batch, sources, output, pictures), versions, strict=True):
            pages.add([version, *row])
        texts["names"].extend(batch["member"].to_pylist())
        texts["ids"].extend(ids)
        texts["versions"].extend(versions)
        digest.update("".join(f"{one} {result}\n" for one, result in zip(ids, results, strict=True)).encode())
        collected.append(numbers_of(batch, sources))
    texts["sources"].extend(list(sources))
    for parts in (pages, *texts.values()):
        parts.close()
    columns = joined(collected)
    columns.photo["doubt"] = doubt(columns)
    about = {
        "photos": pages.count,
        "faces": len(columns.face["psnr"]),
        "digest": digest.hexdigest(),
        "pages": pages.starts,
        "texts": {name: len(parts.starts) for name, parts in texts.items()},
        "photo_fields": ["versions", "source", *SHOWN, "restored", "pictures", "picture_error", "faces"],
        "face_fields": ["face_index", "box", *FACE_METRICS, "needs_review", "review_reason", "strength"],
        **write_columns(columns, files),
    }
    return about, columns


def batches(connection: duckdb.DuckDBPyConnection, choice: str) -> Iterator[pa.RecordBatch]:
    """The newest rows in archive order, in batches; the column `pictured` says whether `choice` includes the photo."""
    columns = f"*, {SECONDS} AS seconds, {CHOICES[choice]} AS pictured"
    sql = f"SELECT {columns} FROM ({NEWEST}) WHERE status NOT IN ('{PENDING}', '{REMOVED}') {ORDER}"
    yield from connection.sql(sql).to_arrow_reader(BATCH_ROWS)


def page_rows(batch: pa.RecordBatch, sources: dict[str, int], output: str, pictures: Pictures) -> Iterator[list[Any]]:
    """One list per photo, in the order of photo_fields after `versions`."""
    codes = [sources.setdefault(source, len(sources)) for source in batch["source"].to_pylist()]
    shown = [cells(batch[name]) for name in SHOWN]
    run = Output(storage.canonical(output))
    written = zip(batch["restored_uri"].to_pylist(), batch["archive_name"].to_pylist(), strict=True)
    where = [relative(uri and run.now(uri, name), output) for uri, name in written]
    versions = pc.coalesce(batch["restored_sha256"], batch["sha256"]).to_pylist()
    ids, pictured = batch["photo_id"].to_pylist(), batch["pictured"].to_pylist()
    for place, (photo_id, faces) in enumerate(zip(ids, face_rows(batch["faces"]), strict=True)):
        error = pictures.failed.get(photo_id)
        there = pictured[place] and error is None
        copies = folder(photo_id, versions[place], pictures.max_side) if there else None
        yield [codes[place], *(column[place] for column in shown), where[place], copies, error, faces]


def cells(column: pa.Array) -> list[Any]:
    """The values of a column for JSON: times as ISO 8601, numbers rounded."""
    if pa.types.is_timestamp(column.type):
        return [value.isoformat(timespec="seconds") for value in column.to_pylist()]
    if pa.types.is_floating(column.type):
        return rounded(column.to_numpy(zero_copy_only=False))
    return list(column.to_pylist())


def face_rows(faces: pa.Array) -> list[list[list[Any]]]:
    """For each photo its faces, each a list in the order of face_fields."""
    flat = faces.flatten()
    columns = [
        pc.struct_field(flat, "face_index").to_pylist(),
        [
            None if box is None else [round(value, 1) for value in box]
            for box in pc.struct_field(flat, "box").to_pylist()
        ],
        *(cells(pc.struct_field(flat, name)) for name in FACE_METRICS),
        pc.struct_field(flat, "needs_review").to_pylist(),
        pc.struct_field(flat, "review_reason").to_pylist(),
        cells(pc.struct_field(flat, "strength")),
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    ends = np.cumsum(counts(faces)).tolist()
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def relative(uri: str | None, output: str) -> str | None:
    """A link from report/index.html to a file of the run, or the whole URI of a file elsewhere."""
    inside = f"{storage.canonical(output)}/"
    if uri is None or not uri.startswith(inside):
        return uri
    return posixpath.join("..", quote(uri.removeprefix(inside)))
