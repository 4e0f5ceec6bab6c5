"""The files of a manifest: their list and footers, and whether this version can read them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from interlcm.errors import one_line
from pipeline import storage
from pipeline.manifest.schema import REQUIRED, SCHEMA_VERSION

REQUESTS = 16  # files read at a time
_SMALL = 1 << 20  # bytes up to which a file is read whole for its footer


def footer(folder: str, name: str, size: int) -> pq.FileMetaData | None:
    """The footer of a file, read in a single request if the file is small; None if it is gone.

    Raises StorageError for a file that is damaged or was written by a later version of this software.
    """
    uri = storage.join(folder, name)
    try:
        if size <= _SMALL:
            found = pq.read_metadata(pa.BufferReader(storage.read_bytes(uri)))
        else:
            filesystem, path = storage.arrow_filesystem(uri)
            found = pq.read_metadata(path, filesystem=filesystem)
        written = version(found)
    except (FileNotFoundError, storage.StorageError) as error:
        if isinstance(error, storage.StorageError) and error.reason != "missing":
            raise
        return None
    except (pa.ArrowInvalid, ValueError) as error:
        words = "damaged, or not a part of a manifest; move it elsewhere, and the next restore does its photos again"
        raise storage.StorageError(f"{uri}: {words}") from error
    if written > SCHEMA_VERSION:
        words = f"written by a later version of interlcm (schema_version {written}, known up to {SCHEMA_VERSION})"
        raise storage.StorageError(f"{uri}: {words}; install that version or a newer one to read this run")
    return found


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


def check(folder: str, files: list[tuple[str, int]]) -> None:
    """Raises StorageError unless this version can read all of these."""
    with ThreadPoolExecutor(REQUESTS) as threads:
        for _ in threads.map(lambda file: footer(folder, *file) is None, files):
            pass
