"""What is there: one file or folder, all files below a folder, and the matches of a pattern."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipeline.storage import local_disk
from pipeline.storage.addresses import public, split
from pipeline.storage.answers import bodiless, error_code
from pipeline.storage.client import filesystem, retried
from pipeline.storage.errors import StorageError, storage_errors
from pipeline.storage.places import below, canonical, folder_and_name, uri_of

# Keys that show that a file changed, the best first: digests, then times. Clients differ in the names.
VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


def describe(uri: str) -> tuple[str, int]:
    """("file", bytes), ("folder", 0) or ("device", 0), which is a pipe too; StorageError when nothing is there."""
    fs, path = filesystem(uri)
    return _described(retried(uri, lambda: info(fs, path)))


def info(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
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


def version(uri: str) -> str:
    """The state of a file: its size and its digest or the time of its last change, whichever the client gives."""
    fs, path = filesystem(uri)
    return _version(retried(uri, lambda: info(fs, path)))


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
        (canonical(uri_of(fs, name)), *_described(info), _version(info) if info["type"] == "file" else "")
        for name, info in found.items()
    )


def _glob_keys(uri: str, fs: AbstractFileSystem, path: str) -> list[tuple[str, str, int, str]]:
    """The same for a pattern with slashes in a row, which fsspec takes for one: folders are not matched."""
    pattern = re.compile(glob_translate(path))
    fixed, _ = folder_and_name(re.split(r"[*?\[]", path)[0])
    found = _objects(uri, fs, fixed)
    return sorted((uri_of(fs, name), "file", size, state) for name, size, state in found if pattern.match(name))
