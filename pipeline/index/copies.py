"""The index of a run in few files: its small files are copied, many into one, so that storage is asked rarely.

The index has one file for each archive, and 10^5 archives would be 10^5 files to open at each start. OUTPUT/index.json
says which copy in OUTPUT/index.copies holds which of them, in which version. A copy counts only while all its files are
there in these versions; else they are read themselves. So nothing depends on the copies but time: they may be deleted,
and the next start makes them again.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from interlcm.errors import one_line
from pipeline import storage
from pipeline.cluster.spread import spread
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output

FEW = 64  # small files that are not copied: a reader opens them quickly
SMALL = 1 << 20  # bytes of a file that is copied: some ten thousand members
COPY_FILES, COPY_BYTES = 2000, 16 << 20  # most files in one copy, and about their bytes
FORMAT = 1
REQUESTS = 16  # files read at a time

# The columns of a copy that say where a row comes from: the name of its file, and its number in that file.
FILE, ROW = "index_file", "index_row"
COPY_SCHEMA = pa.schema([*INDEX_SCHEMA, pa.field(FILE, pa.string()), pa.field(ROW, pa.int32())])


@dataclass(frozen=True)
class Index:
    """The files of an index: name -> (bytes, version), and the copies that count: name -> names of their files."""

    output: str = ""
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @staticmethod
    def of(output: str) -> Index:
        """The index as it is now. Raises StorageError for a stray file in it, or a damaged list of copies."""
        files = {name: (size, version) for name, size, version in Output(output).index_listing()}
        return Index(output, files, _valid(output, files) if len(files) > FEW else {})

    @property
    def listing(self) -> list[tuple[str, int, str]]:
        """Name, bytes and version of each file."""
        return [(name, *known) for name, known in self.files.items()]

    @property
    def single(self) -> list[str]:
        """The files that are in no copy."""
        copied = {name for names in self.copies.values() for name in names}
        return [name for name in self.files if name not in copied]

    def pieces(self) -> list[str]:
        """Files below OUTPUT that hold each row once."""
        return [f"index.copies/{name}" for name in self.copies] + [f"index/{name}" for name in self.single]

    def batches(self, columns: Sequence[str], filter: Any = None) -> Iterator[pa.RecordBatch]:
        """Columns of all rows, and before them the name of each row's file (FILE)."""
        yield from self.copied([FILE, *columns], filter)
        single = _dataset(Output(self.output).index, self.single, INDEX_SCHEMA)
        for batch in single.to_batches(["__filename", *columns], filter):
            paths = batch.column(0).dictionary_encode()
            names = pa.array([posixpath.basename(path) for path in paths.dictionary.to_pylist()], pa.string())
            named = names.take(paths.indices)
            yield pa.RecordBatch.from_arrays([named, *batch.columns[1:]], names=[FILE, *columns])

    def copied(self, columns: Sequence[str], filter: Any = None) -> Iterator[pa.RecordBatch]:
        """Columns (of COPY_SCHEMA) of the rows that are in copies."""
        copies = _dataset(Output(self.output).index_copies, list(self.copies), COPY_SCHEMA)
        yield from copies.to_batches(columns, filter)


def _dataset(folder: str, names: list[str], schema: pa.Schema) -> ds.Dataset:
    filesystem, path = storage.arrow_filesystem(folder)
    return ds.dataset([f"{path}/{name}" for name in names], schema=schema, filesystem=filesystem, format="parquet")


def _valid(output: str, files: Mapping[str, tuple[int, str]]) -> dict[str, list[str]]:
    """The copies whose files are all there in the versions that were copied."""
    place = Output(output)
    there = {name for name, *_ in place.index_copies_listing()}
    if not there:
        return {}
    try:
        found = json.loads(storage.read_bytes(place.index_json))
        if found["format"] != FORMAT:
            return {}  # of a later version
        listed = {name: dict(copied) for name, copied in found["copies"].items() if name in there}
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return {}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        words = f"damaged ({one_line(error)}); remove it, and the next start of the run writes it again"
        raise storage.StorageError(f"{place.index_json}: {words}") from error
    versions = {name: version for name, (_, version) in files.items()}
    return {name: list(copied) for name, copied in listed.items() if copied.items() <= versions.items()}


def kept(output: str) -> Index:
    """The index, after its small files were copied if they are many. The caller holds the lease."""
    index = Index.of(output)
    loose = [name for name in index.single if index.files[name][0] < SMALL]
    if len(loose) <= FEW:
        return index
    environment = storage_client.environment()
    calls = [(output, {name: index.files[name][0] for name in some}, environment) for some in _shares(index, loose)]
    copies = dict(index.copies) | dict(spread(_copy, calls))
    listed = {name: {file: index.files[file][1] for file in files} for name, files in copies.items()}
    place = Output(output)
    storage.write_bytes(place.index_json, json.dumps({"format": FORMAT, "copies": listed}, indent=0).encode())
    old = [name for name, *_ in place.index_copies_listing() if name not in copies]
    storage.remove_all(place.index_copies, old)
    return Index(output, index.files, copies)


def _shares(index: Index, names: Sequence[str]) -> Iterator[list[str]]:
    share: list[str] = []
    size = 0
    for name in names:
        if share and (len(share) == COPY_FILES or size + index.files[name][0] > COPY_BYTES):
            yield share
            share, size = [], 0
        share.append(name)
        size += index.files[name][0]
    yield share


def _copy(output: str, sizes: Mapping[str, int], environment: dict[str, str]) -> tuple[str, list[str]]:
    """Copy files into one; returns its name and theirs."""
    storage_client.configure(environment)
    place = Output(output)

    def rows(file: tuple[str, int]) -> pa.Table:
        name, size = file
        data = storage.read_bytes(storage.join(place.index, name), 0, size)
        table = pq.read_table(pa.BufferReader(data), schema=INDEX_SCHEMA)
        known = (pa.repeat(name, len(table)), pa.array(range(len(table)), pa.int32()))
        return pa.table([*table.columns, *known], schema=COPY_SCHEMA)

    with ThreadPoolExecutor(REQUESTS) as threads:
        tables = list(threads.map(rows, sizes.items()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables), sink, compression="zstd")
    data = sink.getvalue()
    name = f"copy-{hashlib.sha256(data).hexdigest()[:20]}.parquet"
    storage.write_bytes(storage.join(place.index_copies, name), data.to_pybytes())
    return name, list(sizes)
