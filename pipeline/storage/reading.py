"""Files read from any fsspec file system: a local disk, S3, Google Cloud Storage, memory.

Every function takes a URI (`s3://bucket/key`, `file:///path`) or a plain path, and every failure is a
`StorageError`.
"""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline.storage import http_ranges, traffic
from pipeline.storage.answers import error_code
from pipeline.storage.client import filesystem, retried
from pipeline.storage.errors import REFUSED, StorageError, storage_errors
from pipeline.storage.listing import describe, info


def check_open(uri: str) -> None:
    """StorageError unless a file can be read, or a folder listed."""
    fs, path = filesystem(uri)
    kind, _ = describe(uri)
    if kind == "file":
        read_bytes(uri, 0, 1)
    elif isinstance(fs, LocalFileSystem):
        with storage_errors(uri):
            os.scandir(path).close()


class ShortReadError(OSError):
    """The server gave fewer bytes than the file has."""


def read_bytes(uri: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes start to end of a file in one ranged request; fewer only if the file ends before."""
    fs, path = filesystem(uri)
    if end is not None and end <= start:
        return b""
    if not isinstance(fs, LocalFileSystem):
        return retried(uri, lambda: _read_remote(fs, path, start, end))
    with storage_errors(uri), open(path, "rb") as file:
        file.seek(start)
        return traffic.read.add(file.read(-1 if end is None else end - start))


def _read_remote(fs: AbstractFileSystem, path: str, start: int, end: int | None) -> bytes:
    """One read. If it gives fewer bytes than requested, the file's size is checked: the file must be that short."""
    try:
        if start == 0 and end is None:
            whole = {"max_concurrency": 1} if "s3" in fs.protocol else {}  # else s3fs requests the size, too
            data = traffic.read.add(bytes(fs.cat_file(path, **whole)))
        elif "http" in fs.protocol:
            data = traffic.read.add(http_ranges.read_range(fs, path, start, end))
        else:
            data = traffic.read.add(bytes(fs.cat_file(path, start=start, end=end)))
    except OSError as error:
        # S3 refuses a range that begins after the end (416); a local file has no bytes there.
        if error.errno != errno.EINVAL or error_code(error) in REFUSED or start < int(info(fs, path)["size"]):
            raise
        return b""
    if end is not None and len(data) > end - start:
        raise http_ranges.whole_files(path)
    if end is None or len(data) < end - start:
        size = int(info(fs, path)["size"])
        expected = max(0, (size if end is None else min(size, end)) - start)
        if len(data) != expected:
            raise ShortReadError(f"{len(data)} bytes came instead of {expected}")
    return data


@contextlib.contextmanager
def open_stream(uri: str, block: int = 4 << 20) -> Iterator[IO[bytes]]:
    """A file for reading from beginning to end, `block` bytes at a time."""
    kind, size = describe(uri)
    if kind != "file":
        raise StorageError(f"{uri}: a {kind}, not a file")
    with io.BufferedReader(_RangedFile(uri, size), block) as file:
        yield file


class _RangedFile(io.RawIOBase):
    """A file by ranged reads, so that a read that breaks off can be repeated."""

    def __init__(self, uri: str, size: int) -> None:
        self._uri, self._size, self._position = uri, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        data = read_bytes(self._uri, self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Arrow's file system for a URI, and the path in it."""
    fs, path = filesystem(uri)
    return pyarrow.fs.PyFileSystem(_Handler(fs)), path


class _Handler(pyarrow.fs.FSSpecHandler):
    """Reads remote files for Arrow with `read_bytes`, because reads of files that s3fs opens are not retried."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        if isinstance(self.fs, LocalFileSystem):
            return super().open_input_file(path)
        uri = str(self.fs.unstrip_protocol(path))
        return pa.PythonFile(_RangedFile(uri, describe(uri)[1]), mode="r")
