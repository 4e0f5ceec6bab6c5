"""Files on any fsspec file system: a local disk, S3, Google Cloud Storage, memory.

Every function takes a URI (`s3://bucket/key`, `file:///path`) or a plain path, and every failure is a
`StorageError`.
"""

import contextlib
import errno
import io
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.fs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline import local_disk, traffic
from pipeline.storage_error import StorageError, check_no_secret, error_code, one_line, storage_errors

__all__ = ["StorageError"]

# A scheme as RFC 3986 section 3.1 has it. Anything else before "://" belongs to a file name: a member's, say.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CREDENTIALS = ("AWS_", "GOOGLE_", "AZURE_")
# What says that a file is another one than before, the best first: digests, then times. Clients differ in the names.
VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
# Two layers of retries. The client sends a request again that was refused or reset: exponential backoff with full
# jitter (botocore's "standard" mode). What it takes for an answer and is none, a body that broke off or is short, is
# asked for again by `retried`, in the same manner.
_REQUESTS = 6  # of the client for one answer, unless AWS_MAX_ATTEMPTS says otherwise
_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0  # seconds

Result = TypeVar("Result")


class ShortReadError(OSError):
    """The server gave fewer bytes than the file has."""


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI and the path in it. A plain path is local and becomes absolute.

    Chains ("zip://a::s3://b") are not understood on purpose: a member's name could hold one.
    """
    check_no_secret(uri)
    match = _SCHEME.match(uri)
    protocol = match[1].lower() if match else "file"
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise StorageError(f"{uri}: unknown protocol {protocol}://; use a path, s3:// or gs://") from error
    except ImportError as error:
        raise StorageError(f"{uri}: {one_line(error)}") from error
    if issubclass(kind, LocalFileSystem):
        return kind(), os.path.abspath(os.path.expanduser(uri[match.end() :] if match else uri))
    options = {"config_kwargs": {"retries": _retries_of_s3()}} if "s3" in kind.protocol else {}
    with storage_errors(uri):
        # Workers write while the driver lists, so a cached listing is a wrong one.
        fs = kind(use_listings_cache=False, **options, **kind._get_kwargs_from_urls(uri))
    if "s3" in kind.protocol:
        fs.split_path = partial(_literal_key, fs)
        fs.retries = 1  # s3fs's own rounds, without jitter, would multiply with botocore's and with `retried`
    return fs, kind._strip_protocol(uri)


def _retries_of_s3() -> dict[str, Any]:
    mode, requests = os.environ.get("AWS_RETRY_MODE"), os.environ.get("AWS_MAX_ATTEMPTS")
    return {"mode": mode or "standard", "total_max_attempts": int(requests) if requests else _REQUESTS}


def retried(uri: str, work: Callable[[], Result]) -> Result:
    """What `work` gives, tried again with backoff and full jitter while the server is in trouble.

    A StorageError in the end; one that no longer stops the run when the server answers to something else meanwhile.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with storage_errors(uri):
                return work()
        except StorageError as error:
            if error.reason != "unreachable":
                raise
            last = error
        if attempt < _ATTEMPTS - 1:
            time.sleep(random.uniform(0, min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)))
    if _answers(uri):
        raise StorageError(f"{last} (its other files can be reached)") from last.__cause__
    raise last


def _answers(uri: str) -> bool:
    """Whether the bucket of a file that cannot be had still answers."""
    fs, path = filesystem(uri)
    if "s3" not in fs.protocol:
        return False
    try:
        fs.call_s3("list_objects_v2", Bucket=path.split("/")[0], MaxKeys=1)
    except Exception:  # whatever the client raises, it says no
        return False
    return True


def _literal_key(fs: AbstractFileSystem, path: str) -> tuple[str, str, str | None]:
    """s3fs cuts "?versionId=..." off a key, so that a member of such a name would be written over another one."""
    bucket, key, _ = type(fs).split_path(fs, path.replace("?", "\0"))
    return bucket, key.replace("\0", "?"), None


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The same for Arrow: its view of the fsspec file system, and the path."""
    fs, path = filesystem(uri)
    return pyarrow.fs.PyFileSystem(_Handler(fs)), path


class _Handler(pyarrow.fs.FSSpecHandler):
    """Arrow's reads of remote files by `read_bytes`, for what s3fs opens itself is not asked for again."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        if isinstance(self.fs, LocalFileSystem):
            return super().open_input_file(path)
        uri = str(self.fs.unstrip_protocol(path))
        return pa.PythonFile(_RangedFile(uri, describe(uri)[1]), mode="r")


def canonical(uri: str) -> str:
    """One spelling per place: an absolute path for local files, else protocol://path, no slash at the end."""
    fs, path = filesystem(uri)
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path)).rstrip("/")


def join(uri: str, *parts: str) -> str:
    """The URI of something below another. Slashes around the parts do not matter."""
    base = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    return base + "/".join(part.strip("/") for part in parts)


def describe(uri: str) -> tuple[str, int]:
    """("file", bytes) or ("folder", 0); StorageError when nothing is there."""
    fs, path = filesystem(uri)
    return _described(retried(uri, lambda: fs.info(path)))


def _described(info: dict[str, Any]) -> tuple[str, int]:
    return ("folder", 0) if info["type"] == "directory" else ("file", int(info["size"] or 0))


def version(uri: str) -> str:
    """The state of a file: its size and, as the client gives it, its digest or the time of its last change."""
    fs, path = filesystem(uri)
    info = retried(uri, lambda: fs.info(path))
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


def read_bytes(uri: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes start to end of a file in one ranged request; fewer only when the file ends before."""
    fs, path = filesystem(uri)
    if end is not None and end <= start:
        return b""
    if not isinstance(fs, LocalFileSystem):
        return retried(uri, lambda: _read_remote(fs, path, start, end))
    with storage_errors(uri), open(path, "rb") as file:
        file.seek(start)
        return traffic.read.add(file.read(-1 if end is None else end - start))


def _read_remote(fs: AbstractFileSystem, path: str, start: int, end: int | None) -> bytes:
    """One read. What comes back shorter than asked for must be so because the file is: its size is asked for."""
    try:
        if start == 0 and end is None:
            whole = {"max_concurrency": 1} if "s3" in fs.protocol else {}  # else s3fs asks for the size, too
            data = traffic.read.add(bytes(fs.cat_file(path, **whole)))
        else:
            data = traffic.read.add(bytes(fs.cat_file(path, start=start, end=end)))
    except OSError as error:
        # S3 refuses a range that begins behind the end (416); a local file just has no bytes there.
        if error.errno != errno.EINVAL or start < int(fs.info(path)["size"]):
            raise
        return b""
    if end is None or len(data) < end - start:
        size = int(fs.info(path)["size"])
        expected = max(0, (size if end is None else min(size, end)) - start)
        if len(data) != expected:
            raise ShortReadError(f"{len(data)} bytes came where {expected} were asked for")
    return data


@contextlib.contextmanager
def open_stream(uri: str, block: int = 4 << 20) -> Iterator[IO[bytes]]:
    """A file to be read from its beginning to its end, `block` bytes at a time."""
    kind, size = describe(uri)
    if kind != "file":
        raise StorageError(f"{uri}: a {kind}, not a file")
    with io.BufferedReader(_RangedFile(uri, size), block) as file:
        yield file


class _RangedFile(io.RawIOBase):
    """A file by ranged reads, so that one that breaks off is asked for again at its place."""

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
    """Write a file whole or not at all, over what was there; folders above it are made."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        retried(uri, lambda: fs.pipe_file(path, data))  # one PUT: an object store shows all of it or nothing
        return
    with storage_errors(uri), local_disk.appearing(Path(path)) as temporary:
        temporary.write_bytes(data)


def put_file(uri: str, source: Path) -> None:
    """Write a file whole or not at all from a local one, which may be larger than memory."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        retried(uri, lambda: fs.put_file(str(source), path))
        return
    with storage_errors(uri), local_disk.appearing(Path(path)) as temporary:
        shutil.copyfile(source, temporary)


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a file where there is none; False, and nothing written, where there is one.

    On S3 a conditional PUT (If-None-Match). A server that knows none of it overwrites: read back what is there.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with storage_errors(uri):
            return local_disk.create(Path(path), data)
    try:
        retried(uri, lambda: fs.pipe_file(path, data, mode="create"))
    except StorageError as error:
        if isinstance(error.__cause__, FileExistsError) or error_code(error) in ("PreconditionFailed", "412"):
            return False
        raise
    return True


def remove(uri: str) -> None:
    """Delete a file. One that is gone already is no error."""
    fs, path = filesystem(uri)
    try:
        retried(uri, lambda: os.unlink(path) if isinstance(fs, LocalFileSystem) else fs.rm_file(path))
    except StorageError as error:
        if error.reason != "missing":
            raise


def entries(uri: str) -> Iterator[tuple[str, str, int]]:
    """All that a folder holds at any depth, in order: (relative path, "file"/"link"/"device", bytes).

    Links are reported and never followed: they may lead out of the folder, or round in a circle.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with storage_errors(uri):
            os.scandir(path).close()  # a folder that is missing or closed to us must not look empty
        yield from local_disk.entries(path)
        return
    seen = False
    for name, size in _objects(uri, fs, path):
        seen = True
        relative = name[len(path) :].strip("/")
        if relative:
            yield relative, "file", size
    if not seen:
        describe(uri)  # an empty folder may be empty, a missing one may not


def _objects(uri: str, fs: AbstractFileSystem, path: str) -> Iterator[tuple[str, int]]:
    """Paths and bytes of the files below a folder of a remote file system, in order.

    Of S3 page by page, for 10^7 objects fit no memory: in the order of UTF-8, as Python sorts. A key that ends in a
    slash is a console's mark of an empty folder, and no file.
    """
    if "s3" not in fs.protocol:
        listing = retried(uri, lambda: fs.find(path, detail=True))
        yield from sorted((name, int(info["size"] or 0)) for name, info in listing.items())
        return
    bucket, prefix, _ = fs.split_path(path.rstrip("/"))  # a bucket may be the ARN of an access point, with slashes
    query = {"Bucket": bucket, "Prefix": prefix and f"{prefix}/"}
    while True:
        page = retried(uri, partial(fs.call_s3, "list_objects_v2", **query))
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):
                yield f"{bucket}/{found['Key']}", found["Size"]
        if not page["IsTruncated"]:
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def list_files(uri: str) -> list[tuple[str, int]]:
    """All regular files below a folder: (relative path, bytes), sorted by path."""
    return sorted((path, size) for path, kind, size in entries(uri) if kind == "file")


def glob(uri: str) -> list[tuple[str, str, int]]:
    """What matches a pattern (`*`, `?`, `[a-z]`, `**`), sorted: (URI, "file"/"folder", bytes)."""
    fs, path = filesystem(uri)
    found = retried(uri, lambda: fs.glob(path, detail=True))
    return sorted((canonical(str(fs.unstrip_protocol(name))), *_described(info)) for name, info in found.items())


def environment() -> dict[str, str]:
    """The AWS_*, GOOGLE_* and AZURE_* variables, which a worker needs. Secrets: never log them."""
    return {name: value for name, value in os.environ.items() if name.startswith(_CREDENTIALS)}


def configure(environment: dict[str, str]) -> None:
    """Take the storage settings of another process. Clients made with other settings are forgotten."""
    if environment.items() <= os.environ.items():
        return
    os.environ.update(environment)
    for kind in fsspec.registry.values():  # fsspec keeps clients by their arguments, which these are not
        kind.clear_instance_cache()
