"""Local copies of folders in object storage, for weights, which libraries read from a disk."""

import hashlib
import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.storage import client as storage_client
from pipeline.storage.errors import storage_errors
from pipeline.storage.listing import VERSIONS


def local_folder(uri: str, only: Collection[str] | None = None) -> Path:
    """A folder on this machine with the content of `uri`: itself if local, else a copy made once per node.

    The copy is ~/.cache/interlcm/<digest of the listing>: a changed folder is copied anew. It appears whole. only: the
    paths in the folder that this copy is to have, which makes it another one; None: all.
    """
    fs, path = storage_client.filesystem(uri)
    if storage.describe(uri)[0] != "folder":
        raise storage.StorageError(f"{uri}: not a folder; name the folder that holds the files")
    if isinstance(fs, LocalFileSystem):
        return Path(path)
    found = storage_client.retried(uri, lambda: fs.find(path, detail=True))
    listing = {name[len(path) :].strip("/"): info for name, info in found.items()}
    if only is not None:
        listing = {name: info for name, info in listing.items() if name in only}
    copy = Path.home() / ".cache" / "interlcm" / _listing_digest(listing)
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{copy}.lock"):
        if not copy.is_dir():
            _copy_folder(uri, {name: int(info["size"] or 0) for name, info in sorted(listing.items()) if name}, copy)
    return copy


def _listing_digest(listing: dict[str, dict[str, Any]]) -> str:
    lines = [f"{name}\0{[str(info.get(key)) for key in ('size', *VERSIONS)]}" for name, info in sorted(listing.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _copy_folder(uri: str, sizes: dict[str, int], copy: Path) -> None:
    unfinished = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed worker; the lock is ours
    for name, size in sizes.items():
        if ".." in PurePosixPath(name).parts:
            raise storage.StorageError(f"{storage.join(uri, name)}: leads out of its folder; remove this file")
        target = unfinished / name
        with storage_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
        storage_client.retried(storage.join(uri, name), partial(_copy, storage.join(uri, name), target, size))
    unfinished.rename(copy)


def _copy(uri: str, target: Path, size: int) -> None:
    fs, path = storage_client.filesystem(uri)
    fs.get_file(path, str(target))
    if target.stat().st_size != size:
        raise storage.ShortReadError(f"{target.stat().st_size} bytes came, but the listing says {size}")
