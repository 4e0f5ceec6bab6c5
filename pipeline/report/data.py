"""The photos of a run as the report's data files: pages of rows to show, and columns to sort and filter by."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA, PENDING, REMOVED, STATUSES
from pipeline.report.files import PAGE_ROWS, DataFiles, Parts, rounded
from pipeline.report.pictures import CHOICES, NEWEST, ORDER, folder
from pipeline.storage.output import Output

Numbers = npt.NDArray[np.float64]

BATCH_ROWS = 10_000
NAME_ROWS = 20_000  # in one file of names
# Columns of a photo, besides its faces; `seconds` is the time of all stages.
SHOWN = (
    *("photo_id", "member", "page", "pages", "format", "width", "height", "bit_depth", "bytes", "monochrome"),
    *("status", "error_type", "error", "warnings", "detector", "mask", "seconds", "finished_at"),
)
FACE_METRICS = (
    *("identity_similarity", "psnr", "ssim", "delta_e", "eye_distance", "score"),
    *("sharpness_before", "sharpness_after", "quality_before", "quality_after"),
)
PHOTO_METRICS = ("face_count", "width", "height", "bytes", "bit_depth", "seconds", "warning_count")
LABELS = {
    "identity_similarity": "Identity similarity", "psnr": "PSNR", "ssim": "SSIM", "delta_e": "Colour difference",
    "eye_distance": "Eye distance", "score": "Detector score", "sharpness_before": "Sharpness before",
    "sharpness_after": "Sharpness after", "quality_before": "Quality before", "quality_after": "Quality after",
    "face_count": "Faces", "width": "Width", "height": "Height", "bytes": "File size", "bit_depth": "Bit depth",
    "seconds": "Time spent", "warning_count": "Warnings",
}  # fmt: skip

SECONDS = " + ".join(f"coalesce(seconds_{stage}, 0)" for stage in ("fetch", "detect", "restore", "compose"))


@dataclass
class Columns:
    """Columns of all photos, kept while their pages are written.

    face: for each of FACE_METRICS and needs_review a value per face, NaN if there is none; photo: the same per photo,
    with `status` (place in STATUSES) and `source` (place in `sources`).
    """

    face: dict[str, Numbers]
    photo: dict[str, Numbers]


@dataclass
class Pictures:
    """Which photos have display copies: those of a `choice` (a key of CHOICES) that are not in `failed`."""

    choice: str
    max_side: int
    failed: dict[str, str]


def write_photos(output: str, files: DataFiles, pictures: Pictures) -> tuple[dict[str, Any], Columns]:
    """Write the pages, names and columns of all photos that have a result.

    Returns what the page needs to know about these files, and the columns.
    """
    return query.reading(
        output, lambda connection: _write_photos(connection, output, files, pictures), decided=False, whole=True
    )


def _write_photos(
    connection: duckdb.DuckDBPyConnection, output: str, files: DataFiles, pictures: Pictures
) -> tuple[dict[str, Any], Columns]:
    pages = Parts(files, "photos", PAGE_ROWS)
    texts = {name: Parts(files, name, NAME_ROWS) for name in ("names", "ids", "sources")}
    sources: dict[str, int] = {}
    collected: list[dict[str, Numbers]] = []
    for batch in batches(connection, pictures.choice):
        for row in page_rows(batch, sources, output, pictures):
            pages.add(row)
        texts["names"].extend(batch["member"].to_pylist())
        texts["ids"].extend(batch["photo_id"].to_pylist())
        collected.append(numbers_of(batch, sources))
    texts["sources"].extend(list(sources))
    for parts in (pages, *texts.values()):
        parts.close()
    columns = joined(collected)
    about = {
        "photos": pages.count,
        "faces": len(columns.face["psnr"]),
        "pages": pages.starts,
        "texts": {name: len(parts.starts) for name, parts in texts.items()},
        "photo_fields": ["source", *SHOWN, "restored", "pictures", "picture_error", "faces"],
        "face_fields": ["face_index", "box", *FACE_METRICS, "needs_review", "review_reason"],
        **write_columns(columns, files),
    }
    return about, columns


def batches(connection: duckdb.DuckDBPyConnection, choice: str) -> Iterator[pa.RecordBatch]:
    """The newest rows in archive order, in batches; the column `pictured` says whether `choice` includes the photo."""
    columns = f"*, {SECONDS} AS seconds, {CHOICES[choice]} AS pictured"
    sql = f"SELECT {columns} FROM ({NEWEST}) WHERE status NOT IN ('{PENDING}', '{REMOVED}') {ORDER}"
    yield from connection.sql(sql).to_arrow_reader(BATCH_ROWS)


def page_rows(batch: pa.RecordBatch, sources: dict[str, int], output: str, pictures: Pictures) -> Iterator[list[Any]]:
    """One list per photo, in the order of photo_fields."""
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
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    ends = np.cumsum(counts(faces)).tolist()
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def counts(lists: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def relative(uri: str | None, output: str) -> str | None:
    """A link from report/index.html to a file of the run, or the whole URI of a file elsewhere."""
    inside = f"{storage.canonical(output)}/"
    if uri is None or not uri.startswith(inside):
        return uri
    return posixpath.join("..", quote(uri.removeprefix(inside)))


def numbers_of(batch: pa.RecordBatch, sources: dict[str, int]) -> dict[str, Numbers]:
    """The columns of a batch as float64; those of faces are named "face.<name>"."""
    flat = batch["faces"].flatten()
    found = {f"face.{name}": numbers(pc.struct_field(flat, name)) for name in (*FACE_METRICS, "needs_review")}
    found |= {f"photo.{name}": numbers(batch[name]) for name in PHOTO_METRICS if not name.endswith("_count")}
    found["photo.face_count"] = counts(batch["faces"]).astype(np.float64)
    found["photo.warning_count"] = counts(batch["warnings"]).astype(np.float64)
    found["photo.status"] = np.array([STATUSES.index(status) for status in batch["status"].to_pylist()], np.float64)
    found["photo.source"] = np.array([sources[source] for source in batch["source"].to_pylist()], np.float64)
    return found


def numbers(column: pa.Array) -> Numbers:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def joined(collected: list[dict[str, Numbers]]) -> Columns:
    names = [f"face.{name}" for name in (*FACE_METRICS, "needs_review")]
    names += [f"photo.{name}" for name in (*PHOTO_METRICS, "status", "source")]
    whole = {name: np.concatenate([np.zeros(0), *(one[name] for one in collected)]) for name in names}

    def kind(prefix: str) -> dict[str, Numbers]:
        return {name.removeprefix(prefix): values for name, values in whole.items() if name.startswith(prefix)}

    return Columns(kind("face."), kind("photo."))


def write_columns(columns: Columns, files: DataFiles) -> dict[str, Any]:
    """Write the columns; returns the number of files of each, and the metrics with any value, with their meaning."""
    chunks = {}
    metrics = []
    face_units = {field.name: field for field in FACE}
    for level, values, named in (
        ("face", columns.face, FACE_METRICS),
        ("photo", columns.photo, PHOTO_METRICS),
    ):
        for name, column in values.items():
            if name in named and np.isnan(column).all():
                continue  # its weights are missing, or there are no faces
            chunks[f"{level}-{name}"] = files.write_column(f"{level}-{name}", column)
            if name in named:
                field = face_units[name] if level == "face" else None
                metrics.append({"name": name, "level": level, "label": LABELS[name], **meaning(name, field)})
    return {"chunks": chunks, "metrics": metrics}


def meaning(name: str, field: pa.Field | None) -> dict[str, str]:
    """Unit and description of a metric, from the manifest's schema."""
    if name == "seconds":
        return {"unit": "s", "description": "time in all stages together"}
    if name == "warning_count":
        return {"unit": "", "description": "number of warnings of the photo"}
    field = field or MANIFEST_SCHEMA.field(name)
    return {key: field.metadata[key.encode()].decode() for key in ("unit", "description")}
