"""Files on a local disk: a write that appears whole, and a walk that follows no links."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage_error import storage_errors


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` once its bytes are on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def entries(folder: str, prefix: str = "") -> Iterator[tuple[str, str, int]]:
    """All that a folder holds at any depth, in order: (prefix + relative path, "file"/"link"/"device", bytes)."""
    with storage_errors(folder):
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from entries(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_symlink():
            yield prefix + entry.name, "link", 0
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name, "file", entry.stat(follow_symlinks=False).st_size
        else:
            yield prefix + entry.name, "device", 0
