"""Files written, moved and deleted on any fsspec file system; URIs and errors as in `reading`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline.storage import local_disk
from pipeline.storage.answers import BROKEN, THROTTLED, error_code
from pipeline.storage.client import filesystem, retried
from pipeline.storage.errors import StorageError, storage_errors
from pipeline.storage.listing import exists
from pipeline.storage.places import join
from pipeline.storage.reading import read_bytes

_REMOVALS = 16  # files deleted at a time where the server takes no lists
# What servers answer to a condition that they do not know.
_NO_CONDITIONS = ("NotImplemented", "501", "InvalidArgument", "InvalidRequest", "400", "MethodNotAllowed", "405")


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


def is_local(uri: str) -> bool:
    """Whether a URI names a place on a disk of this machine."""
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def link_file(uri: str, source: str) -> None:
    """Write a local file as a link to another local file: a hard link, or a symbolic one on another disk."""
    with storage_errors(uri, writing=True):
        local_disk.link(Path(filesystem(uri)[1]), Path(filesystem(source)[1]))


def put_file(uri: str, source: Path) -> None:
    """Copy a local file, which may be larger than memory; whole or not at all."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        retried(uri, lambda: fs.put_file(str(source), path), writing=True)
        return
    with storage_errors(uri, writing=True), local_disk.appearing(Path(path)) as temporary:
        shutil.copyfile(source, temporary)


def write_pieces(uri: str, pieces: Iterable[bytes]) -> None:
    """Write or overwrite a file that may be larger than memory; if `pieces` raises, nothing is written."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with storage_errors(uri, writing=True), local_disk.appearing(Path(path)) as temporary:
            _collect(temporary, pieces)
        return
    with tempfile.TemporaryDirectory(prefix="interlcm-") as folder:
        collected = Path(folder, "file")
        _collect(collected, pieces)
        put_file(uri, collected)


def _collect(path: Path, pieces: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(pieces)


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


def move(uri: str, to: str) -> bool:
    """Give a file another name in the same file system; false if it is not there.

    On object storage a copy, then a delete: who is killed between the two leaves both, and moves again.
    """
    fs, path = filesystem(uri)
    _, target = filesystem(to)
    try:
        if isinstance(fs, LocalFileSystem):
            with storage_errors(to, writing=True):
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            with storage_errors(uri):
                os.replace(path, target)
        else:
            retried(uri, lambda: fs.cp_file(path, target), writing=True)
    except StorageError as error:
        if error.reason != "missing" or exists(uri):
            raise
        return False
    if not isinstance(fs, LocalFileSystem):
        remove(uri)
    return True


def remove(uri: str) -> None:
    """Delete a file, if it is still there."""
    fs, path = filesystem(uri)
    try:
        retried(uri, lambda: os.unlink(path) if isinstance(fs, LocalFileSystem) else fs.rm_file(path))
    except StorageError as error:
        if error.reason != "missing":
            raise


def remove_all(folder: str, names: Sequence[str]) -> None:
    """Delete files below a folder, those that are still there; on S3 a thousand in one request."""
    fs, path = filesystem(folder)
    if "s3" not in fs.protocol:
        with ThreadPoolExecutor(_REMOVALS) as threads:
            list(threads.map(lambda name: remove(join(folder, name)), names))
        return
    bucket, key, _ = fs.split_path(path)
    for start in range(0, len(names), 1000):
        objects = [{"Key": f"{key}/{name}"} for name in names[start : start + 1000]]
        chosen = {"Bucket": bucket, "Delete": {"Objects": objects, "Quiet": True}}
        retried(folder, partial(_delete, fs, folder, chosen), writing=True)


def _delete(fs: AbstractFileSystem, folder: str, chosen: dict[str, Any]) -> None:
    """One request that deletes files. The server may refuse some of them in a good answer; one that is gone is none."""
    for error in fs.call_s3("delete_objects", **chosen).get("Errors", ()):
        reason = "throttled" if error["Code"] in THROTTLED else "unreachable" if error["Code"] in BROKEN else "failed"
        words = f"cannot delete {error['Key']} ({error['Code']}: {error['Message']})"
        raise StorageError(f"{folder}: {words}", reason, writing=True)
