"""The manifest of a run as an Iceberg table: metadata that names the run's own Parquet files, without a copy of them.

The table has the newest row of each photo. Merged files hold these first, and older rows behind them; a position delete
file for each merged file says which rows are older. A later export is a new snapshot: files that came since are added,
and those that were merged into others are taken out. Merged files never change, since their names come from their
bytes, so a reader that has begun goes on as long as they are there.

No file of the run is opened: manifest.json has their rows and sizes. So the metadata has no bounds of columns either; a
bound may be a name, and `interlcm forget` does not come here.

Source: Iceberg specification, version 2 (https://iceberg.apache.org/spec/), "Manifests", "Snapshots", "Position Delete
Files", "Column Projection" (name mapping).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg import types
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record

from pipeline import storage
from pipeline.export.iceberg_table import DATA, DELETED, Table, address
from pipeline.export.photos import ExportError
from pipeline.manifest import settled as manifest_settled
from pipeline.manifest.compaction import compact
from pipeline.manifest.schema import MANIFEST_SCHEMA, SCHEMA_VERSION
from pipeline.manifest.settled import Settled
from pipeline.storage.output import Output, check_not_in_run

# The files belong to the run: no expiry of snapshots and no DROP may delete them.
PROPERTIES = {"gc.enabled": "false"}
SIMPLE = {
    pa.string(): types.StringType(), pa.bool_(): types.BooleanType(), pa.int32(): types.IntegerType(),
    pa.int64(): types.LongType(), pa.float32(): types.FloatType(),
    pa.timestamp("us", tz="UTC"): types.TimestamptzType(),
}  # fmt: skip
# The columns of a position delete file, with the numbers that the specification gives them.
PATH_ID, POSITION_ID = 2147483546, 2147483545
DELETES = pa.schema([
    pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": str(PATH_ID)}),
    pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": str(POSITION_ID)}),
])  # fmt: skip


@dataclass(frozen=True)
class Registered:
    """What an export did. metadata: URI of the table's newest metadata file. photos: rows of the table.

    files: of the run in the table. added, removed: those that came and went since the last export. waiting: files of
    the manifest that are not in it, because a run writes them now. merged: whether files of the manifest were merged.
    """

    metadata: str
    photos: int
    files: int
    added: int
    removed: int
    waiting: int
    merged: bool


def write_table(output: str, folder: str) -> Registered:
    """Make or update the table in a folder. Small files of the manifest are merged first.

    Raises ExportError if the run has no results or the folder is no table of this kind, StorageError.
    """
    output, folder = storage.canonical(output), storage.canonical(folder)
    check_not_in_run(storage.join(folder, "metadata", "version-hint.text"))
    files, merged = settled_files(output)
    if not files:
        raise ExportError(f"{output}: it has no results yet; there is nothing to register")
    waiting = len(Output(output).manifest_files()) - len(files)
    table = Table.of(folder, schema(), PROPERTIES)
    before = table.entries()
    manifest = Output(output).manifest
    data = {address(storage.join(manifest, one.name)): one for one in files}
    older = {deletes_uri(folder, one): (uri, one) for uri, one in data.items() if one.newest < one.rows}
    new = [_file(DATA, uri, one.size, record_count=one.rows) for uri, one in data.items() if uri not in before]
    new += [write_deletes(uri, *named) for uri, named in older.items() if uri not in before]
    metadata = table.commit({one.file_path: one for one in new}, before.keys() - data.keys() - older.keys())
    added, removed = len(data.keys() - before.keys()), len(before.of(DATA) - data.keys())
    return Registered(metadata, sum(one.newest for one in files), len(files), added, removed, waiting, merged)


def settled_files(output: str) -> tuple[list[Settled], bool]:
    """The merged files of which it is known which rows are newest, and whether a compaction was needed for that."""
    place = Output(output)
    place.check_run()
    sizes = dict(place.manifest_files())
    found = manifest_settled.read_settled(output, sizes)
    needed = found.keys() != sizes.keys() or any(one.schema_version != SCHEMA_VERSION for one in found.values())
    if needed:
        compact(output)
        found = manifest_settled.read_settled(output, dict(place.manifest_files()))
    return sorted(found.values(), key=lambda one: one.name), needed


def schema() -> Schema:
    """The columns of the manifest. Their numbers are those of the first table; later columns get the next ones."""
    return Schema(*_fields(MANIFEST_SCHEMA, count(1)))


def _fields(columns: Iterable[pa.Field], numbers: Iterator[int]) -> list[types.NestedField]:
    found = []
    for column in columns:
        number, known = next(numbers), column.metadata or {}
        words = known.get(b"description", b"").decode() + (
            f" ({unit.decode()})" if (unit := known.get(b"unit")) else ""
        )
        found.append(types.NestedField(number, column.name, _type(column.type, numbers), required=False, doc=words))
    return found


def _type(kind: pa.DataType, numbers: Iterator[int]) -> types.IcebergType:
    if pa.types.is_struct(kind):
        return types.StructType(*_fields(kind, numbers))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        number = next(numbers)
        return types.ListType(number, _type(kind.value_type, numbers), element_required=False)
    return SIMPLE[kind]


def deletes_uri(folder: str, file: Settled) -> str:
    """Where the position delete file of a merged file is."""
    return address(storage.join(folder, "data", f"older-{file.name.removeprefix('merged-')}"))


def write_deletes(uri: str, data_uri: str, file: Settled) -> DataFile:
    """Write the places of the older rows of a merged file, which are its last ones."""
    places = pa.array(range(file.newest, file.rows), pa.int64())
    rows, sink = pa.table([pa.repeat(data_uri, len(places)), places], schema=DELETES), pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    encoded = sink.getvalue().to_pybytes()
    storage.write_bytes(uri, encoded)
    bounds = {PATH_ID: data_uri.encode()}  # equal ones: readers see that it is for this file alone
    return _file(DELETED, uri, len(encoded), record_count=len(rows), lower_bounds=bounds, upper_bounds=bounds)


def _file(content: DataFileContent, uri: str, size: int, **known: Any) -> DataFile:
    file = {"file_path": uri, "file_format": FileFormat.PARQUET, "file_size_in_bytes": size, "spec_id": 0}
    return DataFile.from_args(content=content, partition=Record(), **file, **known)
