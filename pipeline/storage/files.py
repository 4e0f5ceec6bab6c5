"""Files on any fsspec file system: a local disk, S3, Google Cloud Storage, memory.

Every function takes a URI (`s3://bucket/key`, `file:///path`) or a plain path, and every failure is a
`StorageError`.
"""

import contextlib
import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipeline.storage import local_disk, traffic
from pipeline.storage.addresses import public, split
from pipeline.storage.client import filesystem, retried
from pipeline.storage.errors import REFUSED, StorageError, bodiless, error_code, storage_errors

# What servers answer to a condition that they do not know.
_NO_CONDITIONS = ("NotImplemented", "501", "InvalidArgument", "InvalidRequest", "400", "MethodNotAllowed", "405")
# Keys that show that a file changed, the best first: digests, then times. Clients differ in the names.
VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


def canonical(uri: str) -> str:
    """One spelling for each place: an absolute path for local files, else protocol://path, without a final slash.

    An http(s) address has no query string, which is remembered for its requests. A key of S3 may have several slashes
    in a row, which are all kept: `s3://bucket/a//` is the folder of `a//b`.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    return _uri(fs, path) if "s3" in fs.protocol else public(_uri(fs, path)).rstrip("/")


def _uri(fs: AbstractFileSystem, path: str) -> str:
    """The URI of a path; s3fs itself would take slashes away at its end."""
    return f"s3://{path}" if "s3" in fs.protocol else str(fs.unstrip_protocol(path))


def join(uri: str, *parts: str) -> str:
    """The URI of something below another one. Slashes around the parts do not matter."""
    base = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    return base + "/".join(part.strip("/") for part in parts)


def below(folder: str, path: str) -> str:
    """The URI of a file that `entries` found below a folder, spelled as `canonical` does: slashes are kept as they are,
    because `scans//a.jpg` and `scans/a.jpg` are two keys of S3."""
    return f"{folder}{path}" if folder.endswith("/") else f"{folder}/{path}"


def folder_and_name(uri: str) -> tuple[str, str]:
    """The folder that a file is in, and its name there; `below` joins them again."""
    name = uri.rpartition("/")[2]
    folder = uri.removesuffix(name)
    return folder if folder.endswith("//") or folder == "/" else folder.removesuffix("/"), name


def describe(uri: str) -> tuple[str, int]:
    """("file", bytes), ("folder", 0) or ("device", 0), which is a pipe too; StorageError when nothing is there."""
    fs, path = filesystem(uri)
    return _described(retried(uri, lambda: _info(fs, path)))


def _info(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    """What the client knows of a file. S3 is asked by HEAD, whose answer has no body: a refusal says nothing of the
    file and nothing of its cause, so GET is asked again."""
    try:
        return dict(fs.info(path))
    except OSError as error:
        if "s3" not in fs.protocol or not bodiless(error_code(error)) or "/" not in path:
            raise
    return _info_by_get(fs, path)


def _info_by_get(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    bucket, key, _ = fs.split_path(path)
    try:
        found = fs.call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")
    except FileNotFoundError:
        if fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)["KeyCount"]:
            return {"type": "directory", "size": 0}
        raise
    except OSError as error:
        if error_code(error) not in ("InvalidRange", "416"):
            raise
        found = fs.call_s3("get_object", Bucket=bucket, Key=key)  # an empty file has no byte 0
    found["Body"].close()
    size = int(found.get("ContentRange", "").rpartition("/")[2] or found["ContentLength"])
    return {"type": "file", "size": size, "ETag": found.get("ETag"), "LastModified": found.get("LastModified")}


def _described(info: dict[str, Any]) -> tuple[str, int]:
    if info["type"] == "file":
        return "file", int(info["size"] or 0)
    return ("folder" if info["type"] == "directory" else "device"), 0


def check_open(uri: str) -> None:
    """StorageError unless a file can be read, or a folder listed."""
    fs, path = filesystem(uri)
    kind, _ = describe(uri)
    if kind == "file":
        read_bytes(uri, 0, 1)
    elif isinstance(fs, LocalFileSystem):
        with storage_errors(uri):
            os.scandir(path).close()


def version(uri: str) -> str:
    """The state of a file: its size and its digest or the time of its last change, whichever the client gives."""
    fs, path = filesystem(uri)
    return _version(retried(uri, lambda: _info(fs, path)))


def _version(info: Mapping[str, Any]) -> str:
    return f"{info.get('size')} {next((info[key] for key in VERSIONS if info.get(key)), '')}"


def exists(uri: str) -> bool:
    """Whether a file or folder is there. Only a clear no is False: access denied raises StorageError."""
    try:
        describe(uri)
    except StorageError as error:
        if error.reason != "missing":
            raise
        return False
    return True


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
    """One read. If it gives fewer bytes than requested, the file's size is checked: the file must be that short.

    A web server that knows no ranges sends the whole file, whose first bytes are not the requested ones: an error.
    """
    try:
        if start == 0 and end is None:
            whole = {"max_concurrency": 1} if "s3" in fs.protocol else {}  # else s3fs requests the size, too
            data = traffic.read.add(bytes(fs.cat_file(path, **whole)))
        else:
            data = traffic.read.add(bytes(fs.cat_file(path, start=start, end=end)))
    except OSError as error:
        # S3 refuses a range that begins after the end (416); a local file has no bytes there.
        if error.errno != errno.EINVAL or error_code(error) in REFUSED or start < int(_info(fs, path)["size"]):
            raise
        return b""
    if end is not None and len(data) > end - start:
        raise StorageError(
            f"{public(path)}: the server sends whole files only, no parts; copy it to a disk or a bucket"
        )
    if end is None or len(data) < end - start:
        size = int(_info(fs, path)["size"])
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


def write_bytes(uri: str, data: bytes) -> None:
    """Write or overwrite a file whole or not at all; creates the folders above it."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        retried(
            uri, lambda: fs.pipe_file(path, data), writing=True
        )  # one PUT: an object store shows all of it or nothing
        return
    with storage_errors(uri, writing=True), local_disk.appearing(Path(path)) as temporary:
        temporary.write_bytes(data)


def put_file(uri: str, source: Path) -> None:
    """Copy a local file, which may be larger than memory; whole or not at all."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        retried(uri, lambda: fs.put_file(str(source), path), writing=True)
        return
    with storage_errors(uri, writing=True), local_disk.appearing(Path(path)) as temporary:
        shutil.copyfile(source, temporary)


def create_bytes(uri: str, data: bytes, say: Callable[[str], None] = print) -> bool:
    """Write a file if there is none; if there is one, return False and write nothing.

    On S3 a conditional PUT (If-None-Match). Some servers refuse those, which `say` is told, and some ignore the
    condition: there a file is looked for first and read back afterwards, so that of two writers one learns of it.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with storage_errors(uri, writing=True):
            return local_disk.create(Path(path), data)
    if exists(uri):
        return False
    try:
        retried(uri, lambda: fs.pipe_file(path, data, mode="create"), writing=True)
    except StorageError as error:
        if isinstance(error.__cause__, FileExistsError) or error_code(error) in ("PreconditionFailed", "412"):
            return read_bytes(uri) == data  # it is there already if the answer to an earlier try was lost
        if error_code(error) not in _NO_CONDITIONS:
            raise
        write_bytes(uri, data)
        say(f"{uri}: the server has no conditional writes; start no second run on this OUTPUT while one works")
    return read_bytes(uri) == data


def remove(uri: str) -> None:
    """Delete a file, if it is still there."""
    fs, path = filesystem(uri)
    try:
        retried(uri, lambda: os.unlink(path) if isinstance(fs, LocalFileSystem) else fs.rm_file(path))
    except StorageError as error:
        if error.reason != "missing":
            raise


def entries(uri: str) -> Iterator[tuple[str, str, int, str]]:
    """All that a folder holds at any depth, in order: (relative path, kind, bytes, version).

    kind: "file", "link", "device", or "closed" for a folder below it that may not be read. Links are reported and never
    followed: they may lead out of the folder, or round in a circle. version: of a file, as `version` gives it; else "".
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with storage_errors(uri):
            os.scandir(path).close()  # a missing or forbidden folder must not look empty
        yield from local_disk.entries(path)
        return
    seen = False
    for name, size, version in _objects(uri, fs, path):
        seen = True
        relative = name.removeprefix(below(public(path), "")).removeprefix("/" if path in ("", "/") else "")
        if relative:
            yield relative, "file", size, version
    if not seen:
        describe(uri)  # raises if the folder is missing, not empty


def _objects(uri: str, fs: AbstractFileSystem, path: str) -> Iterator[tuple[str, int, str]]:
    """Paths, bytes and versions of the files below a folder of a remote file system, in order.

    S3 is listed page by page, because 10^7 objects do not fit in memory; its order is that of UTF-8, as Python sorts.
    A key that ends in a slash is not a file: consoles mark an empty folder with it.
    """
    if "s3" not in fs.protocol:
        listing = retried(uri, lambda: fs.find(path, detail=True))
        files = [(name, int(info["size"] or 0), _version(info)) for name, info in listing.items()]
        yield from sorted(_without_queries(public(path), files) if "http" in fs.protocol else files)
        return
    bucket, *_ = fs.split_path(path.rstrip("/"))  # it may be the ARN of an access point, with slashes
    query = {"Bucket": bucket, "Prefix": below(path, "")[len(bucket) + 1 :]}
    while True:
        page = retried(uri, partial(fs.call_s3, "list_objects_v2", **query))
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):
                yield f"{bucket}/{found['Key']}", found["Size"], _version({"size": found["Size"], **found})
        if not page["IsTruncated"]:
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def _without_queries(folder: str, files: list[tuple[str, int, str]]) -> Iterator[tuple[str, int, str]]:
    """The files that a web server lists, without links that only sort its page. StorageError for one with a query
    string: it could not be read later, because no query string is written down."""
    for name, size, version in files:
        address, query = split(name)
        if not query:
            yield name, size, version
        elif address.rstrip("/") != folder.rstrip("/"):
            raise StorageError(f"{address}: listed with a query string, which is not written down; copy it to a disk")


def list_files(uri: str) -> list[tuple[str, int]]:
    """All regular files below a folder: (relative path, bytes), sorted by path."""
    return sorted((path, size) for path, kind, size, _ in entries(uri) if kind == "file")


def glob(uri: str) -> list[tuple[str, str, int, str]]:
    """The matches of a pattern (`*`, `?`, `[a-z]`, `**`), sorted: (URI, "file"/"folder", bytes, version)."""
    fs, path = filesystem(uri)
    if "s3" in fs.protocol and "//" in path:
        return _glob_keys(uri, fs, path)
    found = retried(uri, lambda: fs.glob(path, detail=True))
    return sorted(
        (canonical(_uri(fs, name)), *_described(info), _version(info) if info["type"] == "file" else "")
        for name, info in found.items()
    )


def _glob_keys(uri: str, fs: AbstractFileSystem, path: str) -> list[tuple[str, str, int, str]]:
    """The same for a pattern with slashes in a row, which fsspec takes for one: folders are not matched."""
    pattern = re.compile(glob_translate(path))
    fixed, _ = folder_and_name(re.split(r"[*?\[]", path)[0])
    found = _objects(uri, fs, fixed)
    return sorted((_uri(fs, name), "file", size, state) for name, size, state in found if pattern.match(name))


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
