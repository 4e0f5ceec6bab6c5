"""Compaction: the many small parts that a run commits become few large files that are quick to list, read and filter.

The order is what makes it safe at every point: a merged file appears whole, and only then do the parts go whose rows it
holds. Until they are gone a row is in two files, and counts once (see `query.VIEWS`); a later compaction drops the
second copy. Nothing else is ever dropped: the manifest stays a log with all its older rows. A file's name comes from
its bytes, so two compactions at once write the same files, and whichever finds a part gone leaves its group alone.
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
from pipeline.columns import MANIFEST_SCHEMA, SCHEMA_VERSION

FILE_ROWS = 200_000  # about 60 MB of photos with one face each
FILE_BYTES = 256 << 20  # before compression, of one file: photos with many faces have long rows
GROUP_ROWS = 10_000  # of a Parquet row group: what a filter on source or member reads at the least
PARTS = 1000  # that a run may add before they are worth merging
_REQUESTS = 16  # files read at a time
_AT_ONCE = 256  # files that are open together: a few rows take far more memory as a table of their own
_SMALL = 1 << 20  # bytes of a file that is read whole for its footer

ORDER = [("source", "ascending"), ("member", "ascending"), ("page", "ascending"), ("finished_at", "ascending")]


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: the manifest's files before and after it, and rows and bytes of those it wrote."""

    parts_before: int
    parts_after: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """A file of the manifest: its name and state, rows, bytes before compression, and the first row's place."""

    name: str
    version: str
    rows: int
    bytes: int
    first: tuple[str, str]


def due(parts: int) -> bool:
    """Whether so many parts, written since the last compaction, are worth another one."""
    return parts >= PARTS


def compact(output: str) -> Compacted:
    """Merge the small parts of the manifest of a run into files of up to FILE_ROWS rows, sorted by source and member.

    May run at any time, also while a run writes and twice at once. Takes the memory of one file. Files that are large
    enough, or of a later version, stay as they are. Raises StorageError, also for a part that is damaged.
    """
    folder = storage.join(output, "manifest")
    before = _files(folder)
    with ThreadPoolExecutor(_REQUESTS) as threads:
        rows = size = 0
        for group in _groups(_parts(folder, before, threads)):
            merged = _merge(folder, group, threads)
            rows, size = rows + merged[0], size + merged[1]
    return Compacted(len(before), len(_files(folder)), rows, size)


def _files(folder: str) -> list[tuple[str, int]]:
    files = storage.list_files(folder) if storage.exists(folder) else []
    return [(name, size) for name, size in files if name.endswith(".parquet")]


def _parts(folder: str, files: list[tuple[str, int]], threads: ThreadPoolExecutor) -> list[Part]:
    """The files that may be merged."""
    found = []
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        for (name, _), opened in zip(some, threads.map(lambda file: _opened(folder, *file), some), strict=True):
            part = None if opened is None else _part(folder, name, *opened)
            found += [] if part is None else [part]
    return found


def _opened(folder: str, name: str, size: int) -> tuple[str, pa.NativeFile] | None:
    """State and bytes of a file, of a small one in a single request; None when it is gone."""
    uri = storage.join(folder, name)
    try:
        version = storage.version(uri)
        if size <= _SMALL:
            return version, pa.BufferReader(storage.read_bytes(uri))
        filesystem, path = storage.arrow_filesystem(uri)
        return version, filesystem.open_input_file(path)
    except (FileNotFoundError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.reason != "missing":
            raise
        return None


def _part(folder: str, name: str, version: str, file: pa.NativeFile) -> Part | None:
    """What a part's footer says; None for one that is large, or of a later version."""
    try:
        footer = pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        words = "damaged, or no Parquet file; move it out of the manifest, and the next restore does its photos again"
        raise storage.StorageError(f"{storage.join(folder, name)}: {words}") from error
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    written = int((footer.metadata or {}).get(b"schema_version", b"1"))
    if written > SCHEMA_VERSION or footer.num_rows > FILE_ROWS // 2 or size > FILE_BYTES // 2:
        return None
    return Part(name, version, footer.num_rows, size, _first(footer, groups))


def _first(footer: pq.FileMetaData, groups: list[pq.RowGroupMetaData]) -> tuple[str, str]:
    """The least source and member of a part, by its statistics: where these lie close, so do the parts."""
    places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
    found = []
    for name in ("source", "member"):
        known = [group.column(places[name]).statistics for group in groups]
        found.append(min((one.min for one in known if one is not None and one.has_min_max), default=""))
    return found[0], found[1]


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    """Neighbours that fit into one file together, two at least."""
    group: list[Part] = []
    rows = size = 0
    for part in sorted(parts, key=lambda part: (part.first, part.name)):
        if group and (rows + part.rows > FILE_ROWS or size + part.bytes > FILE_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(part)
        rows, size = rows + part.rows, size + part.bytes
    yield group


def _merge(folder: str, group: list[Part], threads: ThreadPoolExecutor) -> tuple[int, int]:
    """One file in place of several; its rows and bytes. Nothing where another compaction has begun on one of them."""
    if len(group) < 2:
        return 0, 0
    tables = []
    for start in range(0, len(group), _AT_ONCE):
        read = threads.map(lambda part: _read(folder, part.name), group[start : start + _AT_ONCE])
        some = [None if data is None else _rows(data) for data in read]
        if any(table is None for table in some):
            return 0, 0
        tables.append(pa.concat_tables(some).combine_chunks())
    merged = _sorted(pa.concat_tables(tables))
    data = _encoded(merged).to_pybytes()
    name = f"merged-{hashlib.sha256(data).hexdigest()[:20]}.parquet"
    storage.write_bytes(storage.join(folder, name), data)
    list(threads.map(lambda part: _remove(folder, part, name), group))
    return merged.num_rows, len(data)


def _read(folder: str, name: str) -> bytes | None:
    """A part's bytes; None when it is gone."""
    try:
        return storage.read_bytes(storage.join(folder, name))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None


def _rows(data: bytes) -> pa.Table:
    """The rows of a part in the schema of this version."""
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    known = set(table.column_names)
    columns = [table[field.name] if field.name in known else _unknown(field, len(table)) for field in MANIFEST_SCHEMA]
    return pa.table(columns, MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA)


def _unknown(field: pa.Field, length: int) -> pa.Array:
    """What an earlier version did not write; in the first one every member was one photo."""
    value = pa.scalar(1 if field.name in ("page", "pages") else None, field.type)
    return pa.repeat(value, length)


def _sorted(table: pa.Table) -> pa.Table:
    """Sorted for the statistics to prune by, each row once: a photo has one row of one moment."""
    keys = table.select([name for name, _ in ORDER] + ["photo_id"])
    order = pc.sort_indices(keys, sort_keys=[*ORDER, ("photo_id", "ascending")])
    keys = keys.take(order)
    same: Any = pc.and_(_as_before(keys["photo_id"]), _as_before(keys["finished_at"]))
    return table.take(order.filter(pc.invert(same)))


def _as_before(column: pa.ChunkedArray) -> pa.Array:
    """For each value whether it is that of the row before."""
    values = column.combine_chunks()
    same = pc.equal(values[1:], values[:-1])
    return pa.concat_arrays([pa.array([False] * min(1, len(values)), pa.bool_()), same])


def _encoded(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=GROUP_ROWS)
    return sink.getvalue()


def _remove(folder: str, part: Part, merged: str) -> None:
    """Delete a part whose rows are in a merged file, unless a task wrote it anew or another compaction was faster."""
    uri = storage.join(folder, part.name)
    try:
        if part.name != merged and storage.version(uri) == part.version:
            storage.remove(uri)
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
