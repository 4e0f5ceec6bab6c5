"""Many photos: a callable for `map_batches` of the user's own Ray Data pipeline."""

from __future__ import annotations

from typing import Any, TypeAlias, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interlcm.api.here import Stages, open_row
from interlcm.api.options import Device, Options, prepared
from interlcm.weights_index import DEMO
from pipeline.index.schema import column, root_id
from pipeline.manifest.schema import FACE, STATUSES, WARNING
from pipeline.stages.row import Row, ended, unforeseen

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
        column("restored_status", pa.string(), f"one of {', '.join(STATUSES)}"),
        column("restored_error_type", pa.string(), "kind of failure or reason to skip; null otherwise"),
        column("restored_error", pa.string(), "the failure in one line; null otherwise"),
        column("restored_warnings", pa.list_(WARNING), "what was lost of the photo, or is uncertain"),
        column("restored_format", pa.string(), "format of the restored file: jpeg, png, tiff, ..."),
        column("restored_sha256", pa.string(), "digest of the restored file"),
        column("restored_page", pa.int32(), "page of a TIFF with several pictures, from 1; 1 for all other photos"),
        column("restored_faces", pa.list_(FACE), "one struct per face, as in the manifest; empty if there is none"),
    ]
)


class RestorePhotos:
    """Restores the photos in a column of encoded images. Made once in each actor, which then holds the model.

    A batch is a `pyarrow.Table` or a dict of NumPy arrays. What comes out is a table with the same rows in their order,
    the same columns, and those of `RESTORED_SCHEMA`; a TIFF of several pages becomes a row for each. A photo that fails
    is a row that says why.
    """

    def __init__(
        self,
        image: str = "bytes",
        name: str | None = None,
        weights: str = DEMO,
        device: Device | None = None,
        **options: Unpack[Options],
    ) -> None:
        """image: the column of the files' bytes, or of structs with `bytes` and perhaps `path`. name: the column of
        names, which restored files state as their source; None: `path` of the struct, or none.

        weights, device, options: as for `Restorer.from_pretrained`, and with the same errors.
        """
        self.image, self.name = image, name
        self.stages = Stages(*prepared(weights, device, options))

    def __call__(self, batch: Batch) -> pa.Table:
        table = batch if isinstance(batch, pa.Table) else pa.table({name: arrow(batch[name]) for name in batch})
        check_names(table)
        results = self.results(self.open_rows(table))
        places = pa.array([int(root_id(result["photo_id"])) for result in results], pa.int64())
        made = [{name: result.get(of) for name, of in COLUMNS.items()} for result in results]
        taken, columns = table.take(places), pa.Table.from_pylist(made, schema=RESTORED_SCHEMA)
        return pa.table([*taken.columns, *columns.columns], schema=pa.schema([*taken.schema, *columns.schema]))

    def open_rows(self, table: pa.Table) -> list[Row]:
        """The rows that the first stage of a run would give; the photo_id is the place in the batch."""
        images, names = table[self.image], table[self.name] if self.name else None
        if pa.types.is_struct(images.type):
            kinds = {field.name for field in images.type}
            names = pc.struct_field(images, "path") if names is None and "path" in kinds else names
            images = pc.struct_field(images, "bytes")
        texts = names.to_pylist() if names is not None else [None] * len(images)
        return [started(n, *pair) for n, pair in enumerate(zip(images.to_pylist(), texts, strict=True))]

    def results(self, rows: list[Row]) -> list[Row]:
        """All rows after the last stage. An error that no stage foresaw fails the photo that it comes from."""
        try:
            return list(self.stages.results(rows))
        except Exception:
            return [result for row in rows for result in self.alone(row)]

    def alone(self, row: Row) -> list[Row]:
        try:
            return list(self.stages.results([row]))
        except Exception as error:
            return [{**unforeseen(row, error), "faces": []}]


def started(place: int, data: Any, name: Any) -> Row:
    """The row of one photo, ended already if there is nothing to decode."""
    named = "" if name is None else str(name)
    if not isinstance(data, bytes):
        what = "null" if data is None else f"a {type(data).__name__}"
        return ended(open_row(str(place), b"", member=named), "failed", "no_bytes", f"{what}, not the bytes of a file")
    return open_row(str(place), data, member=named)


def arrow(values: np.ndarray) -> pa.Array:
    """A column of a batch of NumPy arrays; an array of several dimensions as nested lists."""
    return pa.array(values if values.ndim == 1 else values.tolist())


def check_names(table: pa.Table) -> None:
    """Raises ValueError if a column of the user has the name of one that is to come."""
    taken = sorted({*table.column_names} & {*RESTORED_SCHEMA.names})
    if taken:
        raise ValueError(f"the batch has a column {taken[0]} already: rename it")
