"""Files on any fsspec file system: a local disk, S3, Google Cloud Storage, memory.

Every function takes a URI (`s3://bucket/key`, `file:///path`) or a plain path, and every failure is a
`StorageError`.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
import pyarrow.fs
from filelock import FileLock
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline import local_disk
from pipeline.storage_error import StorageError, check_no_secret, one_line, storage_errors

__all__ = ["StorageError"]

# A scheme as RFC 3986 section 3.1 has it. Anything else before "://" belongs to a file name: a member's, say.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CREDENTIALS = ("AWS_", "GOOGLE_", "AZURE_")
# What says that a file is another one than before, the best first: digests, then times. Clients differ in the names.
_VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_STREAM_BLOCK = 4 << 20  # bytes asked for at a time when a whole file is streamed


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
    with storage_errors(uri):
        # Workers write while the driver lists, so a cached listing is a wrong one.
        fs = kind(use_listings_cache=False, **kind._get_kwargs_from_urls(uri))
    if "s3" in kind.protocol:
        fs.split_path = partial(_literal_key, fs)
    return fs, kind._strip_protocol(uri)


def _literal_key(fs: AbstractFileSystem, path: str) -> tuple[str, str, str | None]:
    """s3fs cuts "?versionId=..." off a key, so that a member of such a name would be written over another one."""
    bucket, key, _ = type(fs).split_path(fs, path.replace("?", "\0"))
    return bucket, key.replace("\0", "?"), None


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The same for Arrow: its view of the fsspec file system, and the path."""
    fs, path = filesystem(uri)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path


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
    with storage_errors(uri):
        return _described(fs.info(path))


def _described(info: dict[str, Any]) -> tuple[str, int]:
    return ("folder", 0) if info["type"] == "directory" else ("file", int(info["size"] or 0))


def version(uri: str) -> str:
    """The state of a file: its size and, as the client gives it, its digest or the time of its last change."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        info = fs.info(path)
    return f"{info.get('size')} {next((info[key] for key in _VERSIONS if info.get(key)), '')}"


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
    """Bytes start to end of a file in one ranged request; fewer when the file ends before."""
    fs, path = filesystem(uri)
    if end is not None and end <= start:
        return b""
    with storage_errors(uri):
        if not isinstance(fs, LocalFileSystem):
            return _read_remote(fs, path, start, end)
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)


def _read_remote(fs: AbstractFileSystem, path: str, start: int, end: int | None) -> bytes:
    if start == 0 and end is None:
        return bytes(fs.cat_file(path))
    try:
        return bytes(fs.cat_file(path, start=start, end=end))
    except OSError as error:
        # S3 refuses a range that begins behind the end (416); a local file just has no bytes there.
        if error.errno != errno.EINVAL or start < int(fs.info(path)["size"]):
            raise
        return b""


@contextlib.contextmanager
def open_stream(uri: str) -> Iterator[IO[bytes]]:
    """A file opened once, to be read from its beginning to its end. Its read errors are the client's own."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        file = fs.open(path, "rb", block_size=_STREAM_BLOCK, cache_type="readahead")
    with file:
        yield file


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all, over what was there; folders above it are made."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        if not isinstance(fs, LocalFileSystem):
            fs.pipe_file(path, data)  # one PUT: an object store shows all of it or nothing
            return
        with local_disk.appearing(Path(path)) as temporary:
            temporary.write_bytes(data)


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
    with storage_errors(uri):
        found = sorted((name, int(info["size"] or 0)) for name, info in fs.find(path, detail=True).items())
        if not found:
            fs.info(path)  # an empty folder may be empty, a missing one may not
    for name, size in found:
        relative = name[len(path) :].strip("/")
        if relative:
            yield relative, "file", size


def list_files(uri: str) -> list[tuple[str, int]]:
    """All regular files below a folder: (relative path, bytes), sorted by path."""
    return sorted((path, size) for path, kind, size in entries(uri) if kind == "file")


def glob(uri: str) -> list[tuple[str, str, int]]:
    """What matches a pattern (`*`, `?`, `[a-z]`, `**`), sorted: (URI, "file"/"folder", bytes)."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        found = fs.glob(path, detail=True)
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


def local_folder(uri: str) -> Path:
    """A folder on this machine with the content of `uri`: itself when local, else a copy made once per node.

    The copy is ~/.cache/interlcm/<digest of the listing>: a changed folder is copied anew. It appears whole.
    """
    fs, path = filesystem(uri)
    if describe(uri)[0] != "folder":
        raise StorageError(f"{uri}: not a folder; name the folder that holds the files")
    if isinstance(fs, LocalFileSystem):
        return Path(path)
    with storage_errors(uri):
        listing = {name[len(path) :].strip("/"): info for name, info in fs.find(path, detail=True).items()}
    copy = Path.home() / ".cache" / "interlcm" / _listing_digest(listing)
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{copy}.lock"):
        if not copy.is_dir():
            _copy_folder(uri, sorted(filter(None, listing)), copy)
    return copy


def _listing_digest(listing: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"{name}\0{[str(info.get(key)) for key in ('size', *_VERSIONS)]}" for name, info in sorted(listing.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _copy_folder(uri: str, names: list[str], copy: Path) -> None:
    partial = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # of a worker that was killed; the lock is ours
    for name in names:
        if ".." in PurePosixPath(name).parts:
            raise StorageError(f"{join(uri, name)}: leads out of its folder; remove this file")
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fs, path = filesystem(join(uri, name))
        with storage_errors(join(uri, name)):
            fs.get_file(path, str(target))
    partial.rename(copy)
