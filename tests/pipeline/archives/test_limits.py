"""Limits when archives are listed and read: a member beyond a limit is refused, its neighbours are not."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.names import LONGEST_NAME
from pipeline.config.limits import RATIO_COUNTS_FROM, Limits
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from tests.corpus.hostile_tars import END, LARGE, block, member, octal, zeros
from tests.support.archives import PHOTOS, put, tar_bytes, zip_bytes


def outcomes(uri: str, format: str, members: list[Member], limits: Limits) -> list[str]:
    """ "read", or the error_type, of each member."""
    found = archives.read_members(uri, format, members, limits)
    return [data.error_type if isinstance(data, ArchiveError) else "read" for _, data in found]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_a_member_over_a_limit_costs_itself_alone(name: str, tmp_path: Path) -> None:
    files = {"a.jpg": b"x" * 100, "b.jpg": b"x" * 101, "1/2/3/c.jpg": b"x", "1/2/d.jpg": b"x", "./1//2/./e.jpg": b"x"}
    pack = {"a.tar": tar_bytes, "a.tar.gz": lambda files: tar_bytes(files, "w:gz"), "a.zip": zip_bytes}[name]
    uri, format = put(str(tmp_path), name, pack(files)), name.removeprefix("a.")
    members = list(archives.list_members(uri, format, Limits()))
    limits = Limits(member_bytes=100, depth=2)
    assert outcomes(uri, format, members, limits) == ["read", "too_large", "too_deep", "read", "read"]
    assert outcomes(uri, format, members, Limits()) == ["read"] * 5


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip", "folder"])
def test_an_archive_of_too_many_members_gives_as_many_as_the_limit(name: str, tmp_path: Path) -> None:
    if name == "folder":
        for path, data in PHOTOS.items():
            put(str(tmp_path / name), path, data)
    else:
        data = zip_bytes(PHOTOS) if name == "a.zip" else tar_bytes(PHOTOS, "w:gz" if "gz" in name else "w")
        put(str(tmp_path), name, data)
    uri, format = str(tmp_path / name), name.removeprefix("a.")
    assert len(list(archives.list_members(uri, format, Limits(members=len(PHOTOS))))) == len(PHOTOS)
    found: list[Member] = []
    with pytest.raises(ArchiveError, match="limit of 4 members") as caught:
        for one in archives.list_members(uri, format, Limits(members=4)):
            found.append(one)
    assert (len(found), caught.value.error_type) == (4, "too_many_members")
    target = str(tmp_path / "index.parquet")
    kind = "folder" if name == "folder" else "archive"
    write_archive(Source(uri, kind), "a", target, str(tmp_path / "out"), Limits(members=4))
    rows = pq.read_table(target).to_pylist()
    assert [row["member"] for row in rows] == [*list(PHOTOS)[:4], ""]
    assert rows[-1]["error_type"] == "too_many_members"


def test_a_stream_that_turns_into_a_bomb_keeps_what_came_before(tmp_path: Path) -> None:
    before = member(b"a.jpg", b"photo")
    uri = put(
        str(tmp_path), "a.tar.gz", zeros("tar.gz", before + block(b"b.jpg", size=octal(LARGE)), LARGE + (1 << 20))
    )
    bomb = Member("b.jpg", "file", LARGE, 2560 - 1024, LARGE)
    behind = Member("c.jpg", "file", 10, LARGE + 4096, 10)
    first = Member("a.jpg", "file", 5, 512, 5)
    assert outcomes(uri, "tar.gz", [behind, bomb, first], Limits()) == ["read", "too_compressed", "too_compressed"]
    assert outcomes(uri, "tar.gz", [bomb], Limits(ratio=2000)) == ["read"]


def test_a_ratio_says_nothing_of_little(tmp_path: Path) -> None:
    """A blank page compresses as well as a bomb."""
    page = bytes(20 << 20)
    for name, data in {"a.zip": zip_bytes({"a.jpg": page}), "a.tar.gz": tar_bytes({"a.jpg": page}, "w:gz")}.items():
        uri, format = put(str(tmp_path), name, data), name.removeprefix("a.")
        assert len(page) < RATIO_COUNTS_FROM and len(page) > 500 * len(data)
        assert outcomes(uri, format, list(archives.list_members(uri, format, Limits())), Limits()) == ["read"]


def test_a_file_that_grew_since_it_was_indexed_is_measured_again(tmp_path: Path) -> None:
    put(str(tmp_path), "a.jpg", b"x" * 100)
    listed = [Member("a.jpg", "file", 10, 0, 10)]
    assert outcomes(str(tmp_path), "folder", listed, Limits(member_bytes=99)) == ["too_large"]
    assert outcomes(str(tmp_path), "folder", listed, Limits(member_bytes=100)) == ["read"]


def test_names_over_the_limit_are_short_rows_of_their_own(tmp_path: Path) -> None:
    names = ["n" * LONGEST_NAME, "n" * (LONGEST_NAME + 1), "n" * (LONGEST_NAME + 2)]
    uri = put(str(tmp_path), "a.tar", tar_bytes(dict.fromkeys(names, b"x")))
    target = str(tmp_path / "index.parquet")
    write_archive(Source(uri, "archive"), "a.tar", target, str(tmp_path / "out"), Limits())
    rows = pq.read_table(target).to_pylist()
    assert [row["error_type"] for row in rows] == [None, "name_too_long", "name_too_long"]
    assert rows[0]["member"] == names[0]
    assert len({row["member"] for row in rows}) == len({row["photo_id"] for row in rows}) == 3
    assert max(len(row["member"]) for row in rows[1:]) < 300


def test_messages_hold_nothing_that_moves_a_cursor() -> None:
    assert str(ArchiveError("a.tar: x\x1b[2J\n\u202e\0é.jpg")) == "a.tar: x\\x1b[2J\\n\\u202e\\x00é.jpg"


def test_xz_streams_follow_each_other_and_are_bounded(tmp_path: Path) -> None:
    whole = tar_bytes(PHOTOS)
    parts = [lzma.compress(whole[n : n + 50_000]) for n in range(0, len(whole), 50_000)]
    uri = put(str(tmp_path), "a.tar.xz", bytes(8).join(parts) + bytes(12))
    members = list(archives.list_members(uri, "tar.xz", Limits()))
    found = archives.read_members(uri, "tar.xz", members, Limits())
    assert {one.path: data for one, data in found} == PHOTOS
    greedy = lzma.compress(END, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}])
    with pytest.raises(ArchiveError, match="[Mm]emory"):
        list(archives.list_members(put(str(tmp_path), "b.tar.xz", greedy), "tar.xz", Limits()))


def test_gzip_members_follow_each_other(tmp_path: Path) -> None:
    whole = tar_bytes(PHOTOS)
    uri = put(str(tmp_path), "a.tar.gz", gzip.compress(whole[:70_000]) + gzip.compress(whole[70_000:]))
    assert [one.path for one in archives.list_members(uri, "tar.gz", Limits())] == list(PHOTOS)
