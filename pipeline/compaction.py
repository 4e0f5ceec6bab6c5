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
    before = _names(folder)
    with ThreadPoolExecutor(_REQUESTS) as threads:
        parts = [part for part in threads.map(lambda name: _part(folder, name), before) if part is not None]
        rows = size = 0
        for group in _groups(parts):
            merged = _merge(folder, group, threads)
            rows, size = rows + merged[0], size + merged[1]
    return Compacted(len(before), len(_names(folder)), rows, size)


def _names(folder: str) -> list[str]:
    files = storage.list_files(folder) if storage.exists(folder) else []
    return [name for name, _ in files if name.endswith(".parquet")]


def _part(folder: str, name: str) -> Part | None:
    """What a part's footer says; None for one that is large, of a later version, or gone."""
    uri = storage.join(folder, name)
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        version = storage.version(uri)
        footer = pq.read_metadata(path, filesystem=filesystem)
    except (FileNotFoundError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.reason != "missing":
            raise
        return None
    except pa.ArrowInvalid as error:
        words = "damaged, or no Parquet file; move it out of the manifest, and the next restore does its photos again"
        raise storage.StorageError(f"{uri}: {words}") from error
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
    for part in sorted(parts, key=lambda part: (part.first, part.name)):
        rows, size = sum(one.rows for one in group) + part.rows, sum(one.bytes for one in group) + part.bytes
        if group and (rows > FILE_ROWS or size > FILE_BYTES):
            yield group
            group = []
        group.append(part)
    yield group


def _merge(folder: str, group: list[Part], threads: ThreadPoolExecutor) -> tuple[int, int]:
    """One file in place of several; its rows and bytes. Nothing where another compaction has begun on one of them."""
    if len(group) < 2:
        return 0, 0
    tables = list(threads.map(lambda part: _rows(folder, part.name), group))
    if any(table is None for table in tables):
        return 0, 0
    merged = _sorted(pa.concat_tables(tables))
    data = _encoded(merged).to_pybytes()
    name = f"merged-{hashlib.sha256(data).hexdigest()[:20]}.parquet"
    storage.write_bytes(storage.join(folder, name), data)
    list(threads.map(lambda part: _remove(folder, part, name), group))
    return merged.num_rows, len(data)


def _rows(folder: str, name: str) -> pa.Table | None:
    """A part in the schema of this version; None when it is gone."""
    try:
        data = storage.read_bytes(storage.join(folder, name))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
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
