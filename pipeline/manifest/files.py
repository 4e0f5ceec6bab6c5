"""The files of a manifest: their list and footers, and whether this version can read them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest.schema import SCHEMA_VERSION

REQUESTS = 16  # files read at a time
_SMALL = 1 << 20  # bytes up to which a file is read whole for its footer


def listed(folder: str) -> list[tuple[str, int]]:
    """Name and bytes of each Parquet file in a folder; empty if there is no folder."""
    files = storage.list_files(folder) if storage.exists(folder) else []
    return [(name, size) for name, size in files if name.endswith(".parquet")]


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
        words = "damaged, or no Parquet file; move it out of the manifest, and the next restore repeats its photos"
        raise storage.StorageError(f"{uri}: {words}") from error
    if written > SCHEMA_VERSION:
        words = f"written by a later version of interlcm (schema_version {written}, known up to {SCHEMA_VERSION})"
        raise storage.StorageError(f"{uri}: {words}; install that version or a newer one to read this run")
    return found


def version(of: pq.FileMetaData) -> int:
    """The `schema_version` of a file; files of the first version have none."""
    return int((of.metadata or {}).get(b"schema_version", b"1"))


def check(folder: str, files: list[tuple[str, int]]) -> None:
    """Raises StorageError unless this version can read all of these."""
    with ThreadPoolExecutor(REQUESTS) as threads:
        for _ in threads.map(lambda file: footer(folder, *file) is None, files):
            pass
