"""A plain tar listed in several parts at once gives the same list as one walk from beginning to end."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.archives import tar_ranges
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.tar_headers import Walk
from pipeline.storage import traffic
from tests.corpus import hostile_tars
from tests.support.archives import put, tar_bytes

PART = 8 << 10  # bytes: a few members
SIZES = [0, 1, 300, 511, 512, 513, 5000, 20_000, 70_000]


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def files(count: int) -> dict[str, bytes]:
    return {f"box{n % 7}/{n:03}.tif": noise(SIZES[n * n % len(SIZES)], n) for n in range(count)}


def collected(members: Iterator[Member]) -> tuple[list[Member], str | None]:
    found = []
    try:
        for member in members:
            found.append(member)
    except ArchiveError as error:
        return found, f"{error.error_type}: {error}"
    return found, None


def one_walk(data: bytes, uri: str) -> Iterator[Member]:
    walk = Walk(uri, tar_ranges.Ranges(uri, len(data)))
    for _, member in walk.until(math.inf):
        yield member
    walk.check_end()


def check(data: bytes, folder: Path, part: int = PART) -> list[Member]:
    uri = put(str(folder), "a.tar", data)
    in_parts = collected(tar_ranges.list_members(uri, smallest=part))
    assert in_parts == collected(one_walk(data, uri))
    return in_parts[0]


def with_globals() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a deposit"}) as tar:
        for name, data in files(40).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def late_globals() -> bytes:
    """Two tars in one file; the second one's global header sets a path for all members after it."""
    header = tarfile.TarInfo.create_pax_global_header({"path": "all-the-same.jpg"})
    first, second = tar_bytes(files(20)), tar_bytes(files(30))
    return first.rstrip(b"\0") + bytes(-len(first.rstrip(b"\0")) % 512) + header + second


CASES = {
    "plain": lambda: tar_bytes(files(60)),
    "gnu long names": lambda: tar_bytes(
        {f"{'long/' * 40}{n}.tif": noise(3000 + n, n) for n in range(40)}, format=tarfile.GNU_FORMAT
    ),
    "pax names": lambda: tar_bytes(
        {f"{'länge/' * 40}{n}.tif": noise(3000 + n, n) for n in range(40)}, format=tarfile.PAX_FORMAT
    ),
    "a tar in a tar": lambda: tar_bytes({"a.tif": noise(9000, 1), "inner.tar": tar_bytes(files(40)), "z.tif": b"z"}),
    "one member over many parts": lambda: tar_bytes({"a.tif": noise(200_000, 1), "b.tif": b"b"}),
    "global headers": with_globals,
    "global headers in the midst": late_globals,
    "cut short": lambda: tar_bytes(files(60))[:300_000],
    "no end mark": lambda: tar_bytes(files(60)).rstrip(b"\0"),
    "joined": lambda: tar_bytes(files(30)) + tar_bytes(files(30)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_list_is_that_of_one_walk(case: str, tmp_path: Path) -> None:
    data = CASES[case]()
    assert len(data) > 4 * PART
    assert check(data, tmp_path)


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_damaged_header_ends_the_list_where_it_stands(at: int, tmp_path: Path) -> None:
    data = bytearray(tar_bytes(files(60), format=tarfile.USTAR_FORMAT))
    place = data.index(f"{at:03}.tif".encode())
    data[place : place + 3] = b"XXX"
    assert len(check(bytes(data), tmp_path)) == at


def test_hostile_tars_are_listed_alike(tmp_path: Path) -> None:
    groups = [hostile_tars.GROUPS[f"tars, {name}"] for name in ("sizes", "headers", "kinds", "forms")]
    tars = [case.data for cases in groups for case in cases() if case.file.endswith(".tar")]
    assert len(tars) > 20
    for data in tars:
        check(data, tmp_path, part=1024)


def test_parts_are_taken_over_and_hardly_anything_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tar_bytes({f"{n:04}.tif": noise(30_000, n) for n in range(400)})
    uri = put(str(tmp_path), "a.tar", data)
    taken: list[int] = []
    original = tar_ranges._taken

    def counted(walk: Walk, part: tar_ranges._Part) -> list[Member]:
        members = original(walk, part)
        taken.append(len(members))
        return members

    monkeypatch.setattr(tar_ranges, "_taken", counted)
    monkeypatch.setattr(tar_ranges, "_SEARCH_REQUEST", 4096)
    before = traffic.read.requests
    assert len(list(tar_ranges.list_members(uri, smallest=1 << 20))) == 400
    assert sum(taken) > 300 and min(taken) > 0
    assert traffic.read.requests - before < 1.5 * 400
