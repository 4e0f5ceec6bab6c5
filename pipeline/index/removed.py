"""Index rows of photos that were removed for good (`interlcm forget`): a row without a name, so that no listing brings
the photo back. What stays is its photo_id, which a listing computes again, and what its source is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.index.copies import FILE, Index
from pipeline.index.schema import INDEX_SCHEMA, photo_id
from pipeline.storage.output import Output

KIND = "removed"
# What stays of a row: all members of a source have the same there, but for the occurrence, which most have: 0.
_KEPT = ("photo_id", "source", "archive_name", "source_version", "archive_format", "zip_names", "occurrence")
_GROUP = 65536  # rows of a Parquet row group


@dataclass(frozen=True)
class Removed:
    """The removed photos of one source: their photo_ids, their rows by index file, and the highest occurrence."""

    ids: frozenset[str] = frozenset()
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    most: int = 0

    def has(self, source: str, member: str, occurrence: int, folder: bool) -> bool:
        """Whether a member was removed. An archive may have several with one path, which differ in occurrence. In a
        folder each path is one file; which occurrence it had depends on when files of the same name in other case came.
        """
        if not self.ids:
            return False
        numbers = range(max(self.most, occurrence) + 1) if folder else (occurrence,)
        return any(photo_id(source, member, number) in self.ids for number in numbers)


NONE = Removed()


def removed(index: Index) -> dict[str, Removed]:
    """The removed photos of each source that has any."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for batch in index.batches(INDEX_SCHEMA.names, filter=pc.field("kind") == KIND):
        for row in batch.to_pylist():
            file = row.pop(FILE)
            found.setdefault(row["source"], {}).setdefault(file, []).append(row)
    return {source: _of(files) for source, files in found.items()}


def _of(files: dict[str, list[dict[str, Any]]]) -> Removed:
    rows = [row for own in files.values() for row in own]
    return Removed(frozenset(row["photo_id"] for row in rows), files, max(row["occurrence"] for row in rows))


def erase(output: str, photo_ids: Iterable[str]) -> None:
    """Take the names of these photos, and all that is known of them, out of the index: first its copies, which the next
    start makes again, then file by file."""
    place = Output(output)
    ids = pa.array(sorted(photo_ids), pa.string())
    chosen = pc.field("photo_id").isin(ids) & (pc.field("kind") != KIND)
    names = {name for batch in Index.of(output).batches([], chosen) for name in batch[FILE].to_pylist()}
    storage.remove_all(place.index_copies, [name for name, *_ in place.index_copies_listing()])
    fs, folder = storage.arrow_filesystem(place.index)
    for name in sorted(names):
        table = pq.read_table(f"{folder}/{name}", schema=INDEX_SCHEMA, filesystem=fs)
        named = pc.and_(pc.is_in(table["photo_id"], ids), pc.not_equal(table["kind"], KIND))
        sink = pa.BufferOutputStream()
        pq.write_table(_blank(table, named.to_pylist()), sink, row_group_size=_GROUP, compression="zstd")
        storage.write_bytes(storage.join(place.index, name), sink.getvalue().to_pybytes())


def _blank(table: pa.Table, named: Sequence[bool]) -> pa.Table:
    """The rows with those that are named without their names, and in an order that tells nothing of them."""
    bare = {"member": "", "kind": KIND}
    rows = table.filter(pa.array(named)).to_pylist()
    blank = [{key: row[key] if key in _KEPT else bare.get(key) for key in row} for row in rows]
    return pa.concat_tables([table.filter(pc.invert(pa.array(named))), pa.Table.from_pylist(blank, INDEX_SCHEMA)])
