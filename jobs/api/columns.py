"""The user's table beside the rows of photos: a column of images in, columns of results out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.api.here import open_row
from pipeline.index.schema import column, root_id
from pipeline.manifest.schema import FACE, OUTCOMES, WARNING
from pipeline.stages.row import Row, ended

Batch: TypeAlias = "pa.Table | dict[str, np.ndarray]"

# What a row has besides the user's own columns -> where it comes from in the row after the last stage.
COLUMNS = {
    "restored": "restored",
    "restored_status": "status",
    "restored_error_type": "error_type",
    "restored_error": "error",
    "restored_warnings": "warnings",
    "restored_format": "restored_format",
    "restored_sha256": "restored_sha256",
    "restored_page": "page",
    "restored_faces": "faces",
}
RESTORED_SCHEMA = pa.schema(
    [
        column("restored", pa.large_binary(), "the restored file; null unless restored_status is restored"),
        column("restored_status", pa.string(), f"one of {', '.join(OUTCOMES)}"),
        column("restored_error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
        column("restored_error", pa.string(), "the failure in one line; null otherwise"),
        column("restored_warnings", pa.list_(WARNING), "what was lost of the photo, or is uncertain"),
        column("restored_format", pa.string(), "format of the restored file: jpeg, png, tiff, ..."),
        column("restored_sha256", pa.string(), "digest of the restored file"),
        column("restored_page", pa.int32(), "page of a TIFF with several pictures, from 1; 1 for all other photos"),
        column("restored_faces", pa.list_(FACE), "one struct per face, as in the manifest; empty if there is none"),
    ]
)


def table_of(batch: Batch) -> pa.Table:
    """A batch as Ray Data hands it on, as a table; arrays of several dimensions become nested lists.

    Raises ValueError if a column has the name of one that is to come.
    """
    if not isinstance(batch, pa.Table):
        columns = {name: values if values.ndim == 1 else values.tolist() for name, values in batch.items()}
        batch = pa.table({name: pa.array(values) for name, values in columns.items()})
    taken = sorted({*batch.column_names} & {*RESTORED_SCHEMA.names})
    if taken:
        raise ValueError(f"the batch has a column {taken[0]} already: rename it")
    return batch


def open_rows(table: pa.Table, image: str, name: str | None) -> list[Row]:
    """The rows that the first stage of a run would give; the photo_id is the place in the batch.

    image: a column of bytes, or of structs with `bytes` and perhaps `path`. name: a column of names; None: `path`, or
    none. Raises KeyError for a column that is not there.
    """
    images, names = table[image], table[name] if name else None
    if pa.types.is_struct(images.type):
        kinds = {field.name for field in images.type}
        names = pc.struct_field(images, "path") if names is None and "path" in kinds else names
        images = pc.struct_field(images, "bytes")
    texts = names.to_pylist() if names is not None else [None] * len(images)
    return [started(n, *pair) for n, pair in enumerate(zip(images.to_pylist(), texts, strict=True))]


def started(place: int, data: Any, name: Any) -> Row:
    """The row of one photo, ended already if there is nothing to decode."""
    named = "" if name is None else str(name)
    if not isinstance(data, bytes):
        what = "null" if data is None else f"a {type(data).__name__}"
        return ended(open_row(str(place), b"", member=named), "failed", "no_bytes", f"{what}, not the bytes of a file")
    return open_row(str(place), data, member=named)


def repeated(table: pa.Table, photo_ids: Sequence[str]) -> pa.Table:
    """The user's row of each of these photos: that of a TIFF of several pages comes once for each page."""
    return table.take(pa.array([int(root_id(photo_id)) for photo_id in photo_ids], pa.int64()))


def with_results(table: pa.Table, results: Sequence[Row]) -> pa.Table:
    """The user's rows, each with the columns of RESTORED_SCHEMA. results: rows after the last stage."""
    made = [{name: result.get(of) for name, of in COLUMNS.items()} for result in results]
    columns = pa.Table.from_pylist(made, schema=RESTORED_SCHEMA)
    return pa.table([*table.columns, *columns.columns], schema=pa.schema([*table.schema, *columns.schema]))
