"""How fast archives are indexed, and how much of them is read."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.config.limits import Limits
from pipeline.storage import traffic

FORMATS = ("zip", "tar", "tar.gz")


def measure(folder: str, members: int, member_bytes: int) -> Iterator[dict[str, Any]]:
    """One row for each format: write an archive of incompressible members to `folder` and index it."""
    for format in FORMATS:
        uri = storage.join(folder, f"benchmark.{format}")
        size = len(data := built(format, members, member_bytes))
        storage.write_bytes(uri, data)
        del data
        before = traffic.read.size, traffic.read.requests
        begun = time.perf_counter()
        found = sum(1 for _ in archives.list_members(uri, str(archives.archive_format(uri)), Limits()))
        seconds = time.perf_counter() - begun
        storage.remove(uri)
        yield {
            "archive": format,
            "members": found,
            "archive MB": size / 1e6,
            "members/s": found / seconds,
            "requests/member": (traffic.read.requests - before[1]) / found,
            "bytes read/member": (traffic.read.size - before[0]) / found,
            "share of the archive read %": 100 * (traffic.read.size - before[0]) / size,
        }


def built(format: str, members: int, member_bytes: int) -> bytes:
    """An archive of `members` files of random bytes."""
    noise = np.random.default_rng(0).bytes(member_bytes + members)
    files = {f"box/scan-{n:06}.tif": noise[n : n + member_bytes] for n in range(members)}
    sink = io.BytesIO()
    if format == "zip":
        with zipfile.ZipFile(sink, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return sink.getvalue()
    compressed = {"compresslevel": 1} if format == "tar.gz" else {}
    with tarfile.open(fileobj=sink, mode="w:gz" if compressed else "w", **compressed) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return sink.getvalue()
