"""The remaining work of a run, cut into units. One task reads one unit.

For 10^7 photos the driver holds only the places of their index rows, a few bytes each. The tasks read the rows from
the index files.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline import storage
from pipeline.archives.compressed import COMPRESSIONS
from pipeline.index.copies import FILE, REQUESTS, ROW, Index
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.storage.output import Output

# The most members that one task reads from an archive with random access. 10^7 photos then make 39,063 units, for which
# the driver needs about 300 MB: the numbers of their rows, and Ray Data's bookkeeping of each block.
UNIT_PHOTOS = 256
UNIT_BYTES = 2 << 30  # ... and the most bytes, by the index: what is read again if a node is lost

# One index row: the number of its file in `Pending.files`, and its own number in that file.
PLACE = pa.schema(
    [
        ("photo_id", pa.string()),
        ("file", pa.int32()),
        ("row", pa.int32()),
        ("bytes", pa.int64()),  # stored_bytes of the index
        ("streamed", pa.bool_()),  # in a compressed tar, which has to be read from its beginning
    ]
)
_NARROW = ["photo_id", "archive_format", "stored_bytes"]
UNIT = pa.schema([("file", pa.string()), ("rows", pa.list_(pa.int32()))])


@dataclass(frozen=True)
class Pending:
    """Index rows to work on.

    files: names in OUTPUT/index, one archive each. places: PLACE without photo_id, ordered by file and row, which is
    the members' order in their archive. indexed: all rows of the index, those with a result too. attempt: the
    highest number of an attempt among the results.
    """

    output: str
    files: list[str]
    places: pa.Table
    indexed: int = 0
    attempt: int = 0

    def __len__(self) -> int:
        return int(self.places.num_rows)

    def split(self, first: int) -> tuple[Pending, Pending]:
        """The first `first` rows, and the others."""
        return replace(self, places=self.places.slice(0, first)), replace(self, places=self.places.slice(first))

    def shares(self, parts: int) -> list[Pending]:
        """At most so many parts with about as many rows each, in order; none is empty.

        A large archive may be in several of them, but not a compressed tar, which has to be read from its beginning.
        """
        file, streamed = self.places["file"].to_numpy(), self.places["streamed"].to_numpy()
        cuts = {0, len(self)}
        for number in range(1, parts):
            cut = len(self) * number // parts
            if len(self) and streamed[cut]:
                first, end = (int(np.searchsorted(file, file[cut], side)) for side in ("left", "right"))
                cut = first if cut - first <= end - cut else end
            cuts.add(cut)
        edges = sorted(cuts)
        return [
            replace(self, places=self.places.slice(first, last - first))
            for first, last in zip(edges, edges[1:], strict=False)
        ]

    def units(self, actors: int) -> pa.Table:
        """One row of UNIT for each unit."""
        file, row, size, streamed = (self.places[name].to_numpy() for name in ("file", "row", "bytes", "streamed"))
        first = [begin for begin, _ in _cuts(file, size, streamed, actors)]
        names = [self.files[number] for number in file[first]]
        return pa.table([names, pa.ListArray.from_arrays([*first, len(self)], row)], schema=UNIT)


def split(rows: pa.Table, actors: int) -> Iterator[pa.Table]:
    """Cut index rows, sorted by source, into units."""
    source = rows["source"].combine_chunks().dictionary_encode().indices.to_numpy()
    for first, last in _cuts(source, _sizes(rows).to_numpy(), _streamed(rows).to_numpy(zero_copy_only=False), actors):
        yield rows.slice(first, last - first)


def _cuts(
    archive: npt.NDArray[np.int32], size: npt.NDArray[np.int64], streamed: npt.NDArray[np.bool_], actors: int
) -> Iterator[tuple[int, int]]:
    """Where the units of rows begin and end.

    A compressed tar has to be read from its beginning: all its rows are one unit, read once. Units of other archives
    are so small that each of `actors` actors gets at least twenty, if there are that many photos.
    """
    limit = max(1, min(UNIT_PHOTOS, len(archive) // (20 * actors)))
    until = np.cumsum(size)
    first = 0
    for end in [*(np.flatnonzero(np.diff(archive)) + 1), len(archive)]:
        while first < end:
            room = int(np.searchsorted(until, until[first] - size[first] + UNIT_BYTES, side="right"))
            last = int(end) if streamed[first] else max(first + 1, min(first + limit, room, int(end)))
            yield first, last
            first = last


def _sizes(rows: pa.Table | pa.RecordBatch) -> Any:
    return pc.fill_null(rows["stored_bytes"], 0)


def _streamed(rows: pa.Table | pa.RecordBatch) -> Any:
    return pc.is_in(rows["archive_format"], pa.array(list(COMPRESSIONS)))


def places(index: Index) -> Iterator[pa.RecordBatch]:
    """Every index row in batches of PLACE; only three narrow columns of each file are read."""
    files = list(index.files)
    numbers, names = {name: number for number, name in enumerate(files)}, pa.array(files, pa.string())
    for batch in index.copied([FILE, ROW, *_NARROW]):
        yield _places(batch, pc.index_in(batch[FILE], names), batch[ROW])
    with ThreadPoolExecutor(REQUESTS) as threads:
        single = index.single
        for first in range(0, len(single), REQUESTS):
            some = single[first : first + REQUESTS]
            for name, table in zip(some, threads.map(lambda name: _narrow(index.output, name), some), strict=True):
                file, row = np.full(len(table), numbers[name], np.int32), np.arange(len(table), dtype=np.int32)
                for batch in table.combine_chunks().to_batches():
                    yield _places(batch, file, row)


def _narrow(output: str, name: str) -> pa.Table:
    return _fragment(output, name).to_table(columns=_NARROW, schema=INDEX_SCHEMA)


def _places(batch: pa.RecordBatch, file: Any, row: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch["photo_id"], file, row, _sizes(batch), _streamed(batch)], schema=PLACE)


def load(unit: dict[str, Any], output: str) -> pa.Table:
    """The index rows (`INDEX_SCHEMA`) of a row of UNIT. Only the row groups with these rows are read."""
    fragment, rows = _fragment(output, unit["file"]), np.array(unit["rows"])
    counts = np.array([group.num_rows for group in fragment.row_groups])
    starts = np.cumsum(counts) - counts
    group = np.searchsorted(starts, rows, side="right") - 1
    needed, which = np.unique(group, return_inverse=True)
    table = fragment.subset(row_group_ids=needed.tolist()).to_table(schema=INDEX_SCHEMA)
    begins = np.cumsum(counts[needed]) - counts[needed]
    return table.take(rows - starts[group] + begins[which])


def _fragment(output: str, name: str) -> Any:
    fs, folder = storage.arrow_filesystem(Output(output).index)
    return ds.ParquetFileFormat().make_fragment(f"{folder}/{name}", fs)
