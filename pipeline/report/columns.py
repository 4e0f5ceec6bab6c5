"""Columns of numbers of all photos and faces, to sort and filter by in the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA, STATUSES
from pipeline.report.files import DataFiles

Numbers = npt.NDArray[np.float64]

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


@dataclass
class Columns:
    """Columns of all photos, kept while their pages are written.

    face: for each of FACE_METRICS and needs_review a value per face, NaN if there is none; photo: the same per photo,
    with `status` (place in STATUSES), `source` (place in `sources`) and, once it is known, `doubt`.
    """

    face: dict[str, Numbers]
    photo: dict[str, Numbers]


def counts(lists: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


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
