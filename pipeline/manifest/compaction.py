"""Compaction: merge the many small parts of a run into few large files that are quick to list, read and filter.

It may be killed at any point: a merged file appears whole, and only then are the parts with its rows deleted. Until
then a row is in two files, and counts once (see `query.VIEWS`); a later compaction drops the second copy. Nothing else
is ever dropped: the manifest stays a log with all its older rows. A file's name comes from its bytes, so two
compactions at once write the same files. A compaction that finds a part missing leaves that group alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest import files as manifest_files
from pipeline.manifest.files import REQUESTS
from pipeline.manifest.schema import MANIFEST_SCHEMA, SCHEMA_VERSION
from pipeline.storage.output import Output

FILE_ROWS = 200_000  # about 60 MB of photos with one face each
FILE_BYTES = 256 << 20  # of one file before compression: photos with many faces have long rows
GROUP_ROWS = 10_000  # of a Parquet row group: the least that a filter on source or member reads
FEW = 64  # parts that a run does not compact: a reader opens them quickly
_AT_ONCE = 256  # files open together: a few rows take far more memory as a table of their own

ORDER = [("source", "ascending"), ("member", "ascending"), ("page", "ascending"), ("finished_at", "ascending")]


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction: number of the manifest's files before and after, rows and bytes written."""

    parts_before: int
    parts_after: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """A file of the manifest: name, state, rows, bytes before compression, and source and member of its first row.

    old: whether it has an earlier version of the schema.
    """

    name: str
    state: str
    rows: int
    bytes: int
    first: tuple[str, str]
    old: bool


def compact_if_many(output: str) -> None:
    """Compact the manifest of a run that has more than FEW parts."""
    files = Output(output).manifest_files()
    if sum(name.startswith("part-") for name, _ in files) > FEW:
        compact(output)


def compact(output: str) -> Compacted:
    """Merge the small parts of the manifest of a run into files of up to FILE_ROWS rows, sorted by source and member.

    May run at any time, also during a run and several times at once. Needs the memory of one file. Files that are large
    enough are kept, unless they have an earlier version of the schema. Raises StorageError, also for a part that is
    damaged or has a later version.
    """
    folder = Output(output).manifest
    before = Output(output).manifest_files()
    with ThreadPoolExecutor(REQUESTS) as threads:
        found = list(threads.map(lambda file: _part(folder, *file), before))
        rows = size = 0
        for group in _groups([part for part in found if part is not None]):
            merged = _merge(folder, group, threads)
            rows, size = rows + merged[0], size + merged[1]
    return Compacted(len(before), len(Output(output).manifest_files()), rows, size)


def _part(folder: str, name: str, file_size: int) -> Part | None:
    """A file to merge; None if it is large, or gone."""
    state = _state(folder, name)
    footer = manifest_files.footer(folder, name, file_size)
    if state is None or footer is None:
        return None
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    old = manifest_files.version(footer) < SCHEMA_VERSION
    if not old and (footer.num_rows > FILE_ROWS // 2 or size > FILE_BYTES // 2):
        return None
    return Part(name, state, footer.num_rows, size, _first(footer, groups), old)


def _state(folder: str, name: str) -> str | None:
    """The state of a file, to see whether it was replaced; None if it is gone."""
    try:
        return storage.version(storage.join(folder, name))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None


def _first(footer: pq.FileMetaData, groups: list[pq.RowGroupMetaData]) -> tuple[str, str]:
    """The least source and member of a part, from its statistics, by which parts are sorted."""
    places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
    found = []
    for name in ("source", "member"):
        known = [group.column(places[name]).statistics for group in groups]
        found.append(min((one.min for one in known if one is not None and one.has_min_max), default=""))
    return found[0], found[1]


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    """Groups of neighbours that fit into one file."""
    group: list[Part] = []
    rows = size = 0
    for part in sorted(parts, key=lambda part: (part.first, part.name)):
        if group and (rows + part.rows > FILE_ROWS or size + part.bytes > FILE_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(part)
        rows, size = rows + part.rows, size + part.bytes
    if group:
        yield group


def _merge(folder: str, group: list[Part], threads: ThreadPoolExecutor) -> tuple[int, int]:
    """Replace several files by one; returns its rows and bytes. Does nothing if one of them is gone already."""
    if len(group) == 1 and not group[0].old:
        return 0, 0
    tables = []
    for start in range(0, len(group), _AT_ONCE):
        uris = [storage.join(folder, part.name) for part in group[start : start + _AT_ONCE]]
        some = [
            None if data is None else _rows(data, uri) for data, uri in zip(threads.map(_read, uris), uris, strict=True)
        ]
        if any(table is None for table in some):
            return 0, 0
        tables.append(pa.concat_tables(some).combine_chunks())
    merged = _sorted(pa.concat_tables(tables))
    data = _encoded(merged).to_pybytes()
    name = f"merged-{hashlib.sha256(data).hexdigest()[:20]}.parquet"
    storage.write_bytes(storage.join(folder, name), data)
    list(threads.map(lambda part: _remove(folder, part, name), group))
    return merged.num_rows, len(data)


def _read(uri: str) -> bytes | None:
    """A part's bytes; None when it is gone."""
    try:
        return storage.read_bytes(uri)
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None


def _rows(data: bytes, uri: str) -> pa.Table:
    """The rows of a part in the schema of this version. Raises StorageError if they are damaged."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise manifest_files.damaged(uri, error) from error
    known = set(table.column_names)
    columns = [table[field.name] if field.name in known else _unknown(field, len(table)) for field in MANIFEST_SCHEMA]
    return pa.table(columns, MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA)


def _unknown(field: pa.Field, length: int) -> pa.Array:
    """Values of a column that an earlier version did not write; in the first one every member was one photo."""
    value = pa.scalar(1 if field.name in ("page", "pages") else None, field.type)
    return pa.repeat(value, length)


def _sorted(table: pa.Table) -> pa.Table:
    """Sorted so that statistics prune well, each row once: a photo has one row for one moment."""
    keys = table.select([name for name, _ in ORDER] + ["photo_id"])
    order = pc.sort_indices(keys, sort_keys=[*ORDER, ("photo_id", "ascending")])
    keys = keys.take(order)
    same: Any = pc.and_(_as_before(keys["photo_id"]), _as_before(keys["finished_at"]))
    return table.take(order.filter(pc.invert(same)))


def _as_before(column: pa.ChunkedArray) -> pa.Array:
    """Whether each value equals that of the row before."""
    values = column.combine_chunks()
    same = pc.equal(values[1:], values[:-1])
    return pa.concat_arrays([pa.array([False] * min(1, len(values)), pa.bool_()), same])


def _encoded(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=GROUP_ROWS)
    return sink.getvalue()


def _remove(folder: str, part: Part, merged: str) -> None:
    """Delete a part whose rows are in a merged file, unless a task rewrote it or another compaction was faster."""
    if part.name != merged and _state(folder, part.name) == part.state:
        storage.remove(storage.join(folder, part.name))
