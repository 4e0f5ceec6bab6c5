"""Parquet files of a run as one table that DuckDB scans, on any storage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.manifest.settled import Settled
from pipeline.storage import client

Piece = tuple[str, int | None]  # name of a file, and how many of its row groups to read, the first ones; None: all


def of(folder: str, pieces: Sequence[Piece], schema: pa.Schema) -> pyarrow.dataset.Dataset | pa.Table:
    """These files below a folder, in one schema; a column that a file lacks is null there. Opens none of them yet."""
    pieces = [piece for piece in pieces if piece[1] != 0]
    if not pieces:
        return schema.empty_table()
    filesystem, path = storage.arrow_filesystem(folder)
    paths = [(f"{path}/{name}", groups) for name, groups in pieces]
    parquet = pyarrow.dataset.ParquetFileFormat()
    files = _Files(_fragments(paths, parquet, filesystem), schema, parquet, filesystem)
    files.pieces = paths
    return files


def local_paths(folder: str, files: Sequence[Settled]) -> list[str]:
    """The paths of files of a local folder, for DuckDB to read them itself; none if it would take one for a pattern."""
    filesystem, path = client.filesystem(folder)
    if not isinstance(filesystem, LocalFileSystem) or re.search(r"[*?\[]", path):
        return []
    return [f"{path}/{file.name}" for file in files]


def _fragments(pieces: Sequence[Piece], parquet: Any, filesystem: Any) -> list[Any]:
    chosen = ((path, None if groups is None else list(range(groups))) for path, groups in pieces)
    return [parquet.make_fragment(path, filesystem, row_groups=groups) for path, groups in chosen]


class _Files(pyarrow.dataset.FileSystemDataset):
    """A dataset that DuckDB can scan twice at once, without a deadlock and without keeping every footer (170 KB).

    A fragment that frees its footer at the end of a scan frees it for other scans as well (pyarrow 26 then reads freed
    memory), so each scan has its own fragments.
    """

    pieces: Sequence[Piece]

    def scanner(self, **options: Any) -> _Scan:
        fragments = _fragments(self.pieces, self.format, self.filesystem)
        files = pyarrow.dataset.FileSystemDataset(fragments, self.schema, self.format, self.filesystem)
        return _Scan(files.scanner(cache_metadata=False, **options))


@dataclass(frozen=True)
class _Scan:
    """The scanner that DuckDB requests from a dataset.

    pyarrow's own `Scanner.to_reader` (26 and before) begins the scan while it holds the interpreter's lock. A thread
    of Arrow may wait for that lock in our file system, which is Python, and hold what `to_reader` waits for.
    `to_batches` releases the lock first.
    """

    scanner: pyarrow.dataset.Scanner

    def to_reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.scanner.projected_schema, self.scanner.to_batches())
