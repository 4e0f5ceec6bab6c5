"""The files of a manifest: their list and footers, and whether this version can read them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from interlcm.errors import one_line
from pipeline import storage
from pipeline.manifest.schema import MANIFEST_SCHEMA, REQUIRED, SCHEMA_VERSION

REQUESTS = 16  # files read at a time
ROOM = 128 << 20  # bytes of the parts whose rows are held in memory: some five thousand parts, much of them footers
_SMALL = 1 << 20  # bytes up to which a file is read whole for its footer
_MAGIC = b"PAR1"  # at the end of every Parquet file
_AT_ONCE = 256  # files open together: a few rows take far more memory as a table of their own


def opened(folder: str, name: str, size: int) -> tuple[pq.FileMetaData, bytes | None] | None:
    """The footer of a file, and its bytes if it is small: then both come in a single request. None if it is gone.

    Raises StorageError for a file that is damaged or was written by a later version of this software.
    """
    uri, data = storage.join(folder, name), None
    with _named(uri):
        if size <= _SMALL:
            data = small(uri, size)
            found = None if data is None else pq.read_metadata(pa.BufferReader(data))
        else:
            found = _large(uri)
        if found is None:
            return None
        check_version(uri, found)
    return found, data


def file_of(uri: str, data: bytes) -> pq.ParquetFile:
    """The bytes of a file as Parquet. Raises StorageError as `opened` does."""
    with _named(uri):
        found = pq.ParquetFile(pa.BufferReader(data))
        check_version(uri, found.metadata)
    return found


def small(uri: str, size: int) -> bytes | None:
    """The bytes of a file that was listed with this size, in one request; None if it is gone."""
    try:
        data = storage.read_bytes(uri, 0, size)
        # A task may have written it anew since it was listed, and longer.
        return data if data[-len(_MAGIC) :] == _MAGIC else storage.read_bytes(uri)
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None


def _large(uri: str) -> pq.FileMetaData | None:
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        return pq.read_metadata(path, filesystem=filesystem)
    except (FileNotFoundError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.reason != "missing":
            raise
        return None


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """StorageError, with the file's name, for what is no part of a manifest."""
    try:
        yield
    except (pa.ArrowInvalid, ValueError) as error:
        words = "damaged, or not a part of a manifest; move it elsewhere, and the next restore does its photos again"
        raise storage.StorageError(f"{uri}: {words}") from error


def check_version(uri: str, footer: pq.FileMetaData) -> None:
    """Raises StorageError for a file of a later version, ValueError for another table."""
    written = version(footer)
    if written > SCHEMA_VERSION:
        words = f"written by a later version of interlcm (schema_version {written}, known up to {SCHEMA_VERSION})"
        raise storage.StorageError(f"{uri}: {words}; install that version or a newer one to read this run")


def state(folder: str, name: str) -> str | None:
    """The version of a file, to see whether it was replaced; None if it is gone."""
    try:
        return storage.version(storage.join(folder, name))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None


def version(of: pq.FileMetaData) -> int:
    """The `schema_version` of a file; the first version wrote none. Raises ValueError for another table."""
    marker = (of.metadata or {}).get(b"schema_version")
    if marker is None and not set(REQUIRED) <= set(of.schema.to_arrow_schema().names):
        raise ValueError("no schema_version, and not the columns of the first version")
    return int(marker or 1)


def damaged(uri: str, error: Exception) -> storage.StorageError:
    """The error for a file whose footer is whole and whose rows cannot be read."""
    return storage.StorageError(f"{uri}: damaged ({one_line(error)}); restore a copy, or move the file away")


def check_rows(folder: str, files: list[tuple[str, int]]) -> None:
    """Raises StorageError, which names the file, unless all rows of these can be read. Reads everything."""
    for name, _ in files:
        uri = storage.join(folder, name)
        filesystem, path = storage.arrow_filesystem(uri)
        try:
            for _ in pq.ParquetFile(path, filesystem=filesystem).iter_batches():
                pass
        except (pa.ArrowException, OSError) as error:
            raise damaged(uri, error) from error


def loaded(folder: str, files: list[tuple[str, int]]) -> tuple[pa.Table, list[str]] | None:
    """The rows of small parts, each read in one request, and the names of the other files, which are checked alone.

    Parts beyond ROOM count as others. None if a file is gone. Raises StorageError unless this version can read all.
    """
    tables, others = [], []
    room = ROOM
    with ThreadPoolExecutor(REQUESTS) as threads:
        pairs = zip(files, threads.map(lambda file: opened(folder, *file), files), strict=True)
        while some := list(islice(pairs, _AT_ONCE)):
            rows = []
            for (name, size), found in some:
                if found is None:
                    return None
                _, data = found
                room -= size if data is not None and name.startswith("part-") else 0
                if data is not None and name.startswith("part-") and room >= 0:
                    rows.append(_rows(storage.join(folder, name), data))
                else:
                    others.append(name)
            tables.append(pa.concat_tables([MANIFEST_SCHEMA.empty_table(), *rows]).combine_chunks())
    return pa.concat_tables([MANIFEST_SCHEMA.empty_table(), *tables]), others


def _rows(uri: str, data: bytes) -> pa.Table:
    """The rows of a part in the schema of this version; a column that it lacks is null."""
    try:
        return pq.read_table(pa.BufferReader(data), schema=MANIFEST_SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise damaged(uri, error) from error
