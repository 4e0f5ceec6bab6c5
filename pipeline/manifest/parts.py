"""What a compaction finds in a manifest: which files it merges, in what groups, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest import files as manifest_files
from pipeline.manifest import views
from pipeline.manifest.schema import MANIFEST_SCHEMA, NEWEST_FIRST, SCHEMA_VERSION
from pipeline.manifest.settled import Key, Settled

ORDER = [("source", "ascending"), ("member", "ascending"), ("page", "ascending"), ("finished_at", "ascending")]
OLDER = "older"  # a column of the rows in hand: whether it is known that the photo has a newer row
ROWS_SCHEMA = MANIFEST_SCHEMA.append(pa.field(OLDER, pa.bool_()))
# Rows of which each photo's newest is wanted, in the order of the table.
NEWEST = f"""
SELECT n FROM rows WHERE NOT {OLDER}
QUALIFY row_number() OVER (PARTITION BY photo_id ORDER BY {NEWEST_FIRST}, n) = 1
"""
BEYOND = ("\U0010ffff", "")  # above every source

Listed = tuple[str, int, str]  # name, bytes and version of a file


@dataclass(frozen=True)
class Part:
    """A file to merge: name, size and version by the listing; its rows, their bytes before compression.

    first: a lower bound of source and member. newest: rows in front of which it is not known that they are older.
    data: its bytes, if they were read already.
    must: it cannot stay alone: a task may overwrite it, or it has an earlier version of the schema.
    """

    name: str
    size: int
    version: str
    rows: int
    raw_bytes: int
    first: Key
    newest: int
    data: bytes | None = None
    must: bool = False

    @staticmethod
    def of(settled: Settled, version: str) -> Part:
        known = (settled.rows, settled.bytes, settled.first, settled.newest)
        return Part(settled.name, settled.size, version, *known)


def described(name: str, size: int, footer: pq.FileMetaData, newest: int | None = None) -> Settled:
    """What the footer of a file says. newest: how many of its rows are; None: all."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    wanted, heads, room = footer.num_rows if newest is None else newest, 0, 0
    while room < wanted:
        room += groups[heads].num_rows
        heads += 1
    rows, raw = footer.num_rows, sum(group.total_byte_size for group in groups)
    return Settled(name, size, rows, raw, *_bounds(footer, groups), newest=wanted, groups=heads)


def _bounds(footer: pq.FileMetaData, groups: list[pq.RowGroupMetaData]) -> tuple[Key, Key]:
    """A lower and an upper bound of source and member, by the statistics."""
    places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
    first, last = [], []
    for name in ("source", "member"):
        known = [group.column(places[name]).statistics for group in groups]
        whole = all(one is not None and one.has_min_max for one in known)
        first.append(min((one.min for one in known), default="") if whole else "")
        last.append(max((one.max for one in known), default="") if whole else BEYOND[0])
    return (first[0], first[1]), (last[0], last[1])


def unknown(folder: str, file: Listed, keep: bool) -> tuple[Part | None, Settled | None]:
    """A file that is not settled: as a part to merge, or as a merged file that may stay; neither if it is gone.

    A small one is read whole in one request; keep: its bytes stay with the part. Raises StorageError for one that is
    damaged or of a later version.
    """
    name, size, version = file
    found = manifest_files.opened(folder, name, size)
    if found is None:
        return None, None
    footer, data = found
    known = described(name, size, footer)
    must = name.startswith("part-") or manifest_files.version(footer) < SCHEMA_VERSION
    kept = data if keep else None
    part = Part(name, size, version, known.rows, known.bytes, known.first, known.rows, kept, must)
    return part, None if must else known


def groups_of(parts: Sequence[Part], most_rows: int, most_bytes: int) -> Iterator[list[Part]]:
    """Groups of neighbours that fit into one file."""
    group: list[Part] = []
    rows = size = 0
    for part in sorted(parts, key=lambda part: (part.first, part.name)):
        if group and (rows + part.rows > most_rows or size + part.raw_bytes > most_bytes):
            yield group
            group, rows, size = [], 0, 0
        group.append(part)
        rows, size = rows + part.rows, size + part.raw_bytes
    if group:
        yield group


def rows_of(folder: str, group: Sequence[Part], threads: ThreadPoolExecutor) -> pa.Table | None:
    """The rows of a group (`ROWS_SCHEMA`), sorted, each once; None if one of its files is gone or was written anew.

    A photo has one row for one moment.
    """
    tables = []
    for start in range(0, len(group), _AT_ONCE):
        some = list(threads.map(lambda part: _rows(folder, part), group[start : start + _AT_ONCE]))
        if any(table is None for table in some):
            return None
        tables.append(pa.concat_tables(some).combine_chunks())
    return once(pa.concat_tables(tables))


_AT_ONCE = 256  # files open together: a few rows take far more memory as a table of their own


def _rows(folder: str, part: Part) -> pa.Table | None:
    uri = storage.join(folder, part.name)
    try:
        data = storage.read_bytes(uri, 0, part.size) if part.data is None else part.data
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (pa.ArrowException, OSError) as error:
        if manifest_files.state(folder, part.name) != part.version:
            return None
        raise manifest_files.damaged(uri, error) from error
    return with_older(table, part.newest)


def with_older(table: pa.Table, newest: int) -> pa.Table:
    """Rows of a file in the schema of this version. newest: rows in front that are not known to be older."""
    known = set(table.column_names)
    columns = [table[field.name] if field.name in known else _unknown(field, len(table)) for field in MANIFEST_SCHEMA]
    cast = pa.table(columns, MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA)
    older = pa.concat_arrays([pa.repeat(False, newest), pa.repeat(True, len(table) - newest)])
    return cast.append_column(ROWS_SCHEMA.field(OLDER), older)


def _unknown(field: pa.Field, length: int) -> pa.Array:
    """Values of a column that an earlier version did not write; in the first one every member was one photo."""
    value = pa.scalar(1 if field.name in ("page", "pages") else None, field.type)
    return pa.repeat(value, length)


def once(table: pa.Table) -> pa.Table:
    """Sorted so that statistics prune well, without copies. Of copies, the one stays that is known to be older."""
    keys = table.select([name for name, _ in ORDER] + ["photo_id"]).append_column("last", pc.invert(table[OLDER]))
    order = pc.sort_indices(keys, sort_keys=[*ORDER, ("photo_id", "ascending"), ("last", "ascending")])
    keys = keys.take(order)
    same: Any = pc.and_(_as_before(keys["photo_id"]), _as_before(keys["finished_at"]))
    return table.take(order.filter(pc.invert(same)))


def _as_before(column: pa.ChunkedArray) -> pa.Array:
    """Whether each value equals that of the row before."""
    values = column.combine_chunks()
    same = pc.equal(values[1:], values[:-1])
    return pa.concat_arrays([pa.array([False] * min(1, len(values)), pa.bool_()), same])


def ranked(table: pa.Table) -> pa.Table:
    """The same rows, with those of each photo marked as older that are not its newest in this table."""
    if pc.count_distinct(table["photo_id"]).as_py() == len(table):
        return table
    narrow = table.select(["photo_id", "status", "attempt", "finished_at", OLDER])
    narrow = narrow.append_column("n", pa.array(range(len(table)), pa.int64()))
    with views.locked() as connection:
        connection.register("rows", narrow)
        newest = connection.sql(NEWEST).to_arrow_table()["n"]
    older = pc.invert(pc.is_in(narrow["n"], newest.combine_chunks()))
    return table.set_column(table.schema.get_field_index(OLDER), ROWS_SCHEMA.field(OLDER), older)
