"""Files of a folder that changed since they were indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.index.files import parquet_files
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import Source
from pipeline.storage.output import Output

_GROUP = 65536  # rows of a Parquet row group


@dataclass(frozen=True)
class Changed:
    """A file of the folder `source` that is not the one in the index any more. version: as of `storage.version`."""

    source: str
    member: str
    bytes: int
    version: str
    checksum: str | None = None


@dataclass(frozen=True)
class Renewed:
    """An index file as it should be now. photos: the photo_ids of the rows that differ, each with its change."""

    name: str
    table: pa.Table
    photos: dict[str, Changed]


def renewed(output: str, changed: Sequence[Changed]) -> Iterator[Renewed]:
    """The index files in which these members stand."""
    news = {(one.source, one.member): one for one in changed}
    digests = {Source(uri, "folder").digest for uri in {one.source for one in changed}}
    fs, folder = storage.arrow_filesystem(Output(output).index)
    for name in parquet_files(output):
        if Source.digest_in(name) not in digests:
            continue
        table = pq.read_table(f"{folder}/{name}", schema=INDEX_SCHEMA, filesystem=fs)
        keys = zip(table["source"].to_pylist(), table["member"].to_pylist(), strict=True)
        found = {row: news[key] for row, key in enumerate(keys) if key in news}
        if found:
            ids = {table["photo_id"][row].as_py(): change for row, change in found.items()}
            yield Renewed(name, _with_changes(table, found), ids)


def _with_changes(table: pa.Table, found: dict[int, Changed]) -> pa.Table:
    columns = {"bytes": "bytes", "stored_bytes": "bytes", "member_version": "version", "checksum": "checksum"}
    for column, attribute in {**columns, "error_type": "", "error": ""}.items():  # what was missing is there now
        values = table[column].to_pylist()
        for row, change in found.items():
            values[row] = getattr(change, attribute) if attribute else None
        field = INDEX_SCHEMA.field(column)
        table = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    return table


def write_renewed(output: str, file: Renewed) -> None:
    """Replace an index file, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(file.table, sink, row_group_size=_GROUP, compression="zstd")
    storage.write_bytes(storage.join(Output(output).index, file.name), sink.getvalue().to_pybytes())
