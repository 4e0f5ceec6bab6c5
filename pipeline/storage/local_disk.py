"""Files on a local disk: atomic writes, a walk that follows no links, and removal of what a killed writer left."""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.errors import StorageError, storage_errors

_NO_HARD_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces `path` once its bytes are on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: Path, data: bytes) -> bool:
    """Write a file whole if there is none; return False if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        temporary.write_bytes(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def link(path: Path, source: Path) -> None:
    """Make `path` a hard link to a file; a symbolic one where that is impossible, as on another disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            os.symlink(source, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # os.replace leaves it where both are links to one file


def remove_empty(folder: Path) -> None:
    """Remove the empty folders below this one."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if Path(parent) != folder:
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(parent)


def remove_temporaries(folder: str, before: float) -> int:
    """Delete the temporary files of killed writers below a folder; returns their number.

    before: seconds since the epoch, by the folder's file system; files touched later still have a writer.
    """
    removed = 0
    for parent, _, names in os.walk(folder):
        for name in filter(_TEMPORARY.fullmatch, names):
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError), storage_errors(path):
                if os.stat(path).st_mtime < before:
                    os.unlink(path)
                    removed += 1
    return removed


def entries(folder: str, prefix: str = "") -> Iterator[tuple[str, str, int, str]]:
    """All that a folder holds at any depth, in order: (prefix + relative path, kind, bytes, version).

    kind: "file", "link", "device", or "closed" for a folder below it that may not be read.
    """
    try:
        with storage_errors(folder):
            found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except StorageError as error:
        if not prefix or error.reason != "denied":
            raise
        yield prefix.rstrip("/"), "closed", 0, ""
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from entries(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_symlink():
            yield prefix + entry.name, "link", 0, ""
        elif entry.is_file(follow_symlinks=False):
            try:
                found_at = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # deleted since the folder was listed, as compaction does
                continue
            yield prefix + entry.name, "file", found_at.st_size, f"{found_at.st_size} {found_at.st_mtime}"
        else:
            yield prefix + entry.name, "device", 0, ""
