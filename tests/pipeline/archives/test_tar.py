"""Tar archives by tarfile: hostile, damaged, and with names of any kind."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.archives.names import unescape_name
from tests.corpus.hostile_tars import block
from tests.support.archives import PHOTOS, contents, listed, put, tar_bytes

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "a.tar": bytes,
    "a.tar.gz": gzip.compress,
    "a.tar.zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def test_a_truncated_tar_lists_what_came_before(tmp_path: Path) -> None:
    data = tar_bytes(PHOTOS)
    uri = put(str(tmp_path), "cut.tar", data[:100_000])
    members, error = listed(uri)
    assert error is not None
    assert error.error_type == "archive_truncated"
    assert [member.path for member in members] == list(PHOTOS)[: len(members)]
    found = contents(uri, members)
    assert list(found.values())[:-1] == list(PHOTOS.values())[: len(members) - 1]
    assert found[members[-1].path] == "archive_truncated"


def test_a_damaged_header_is_not_the_end_of_the_archive(tmp_path: Path) -> None:
    """tarfile stops there silently, so the members after it would be lost without a row."""
    data = bytearray(tar_bytes(PHOTOS))
    at = data.index(b"album/02.jpg")
    data[at : at + 4] = b"XXXX"
    members, error = listed(put(str(tmp_path), "a.tar", bytes(data)))
    assert [member.path for member in members] == ["album/00.jpg", "album/01.jpg"]
    assert error is not None
    assert error.error_type == "archive_unreadable"


def test_a_tar_without_its_end_mark_is_reported(tmp_path: Path) -> None:
    data = tar_bytes({"a.jpg": bytes(512)})[:1024]
    members, error = listed(put(str(tmp_path), "a.tar", data))
    assert [member.path for member in members] == ["a.jpg"]
    assert error is not None
    assert error.error_type == "archive_truncated"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.zst"])
def test_a_header_of_zeros_is_not_the_end_of_the_archive(name: str, place: int, tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"a.jpg": b"1", "b.jpg": b"2", "c.jpg": b"3"}, format=tarfile.USTAR_FORMAT))
    data[place * 1024 : place * 1024 + 512] = bytes(512)
    members, error = listed(put(str(tmp_path), name, COMPRESS[name](bytes(data))))
    assert [member.path for member in members] == ["a.jpg", "b.jpg", "c.jpg"][:place]
    assert error is not None
    assert error.error_type == "archive_unreadable"
    assert "after the end-of-archive mark" in str(error)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.zst"])
def test_two_tars_in_one_file_are_not_taken_for_one(name: str, tmp_path: Path) -> None:
    members, error = listed(put(str(tmp_path), name, COMPRESS[name](tar_bytes(PHOTOS)) * 2))
    assert [member.path for member in members] == list(PHOTOS)
    assert error is not None
    assert "repack or repair it" in str(error)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.zst"])
@pytest.mark.parametrize("blocks", [1, 2, 5000])
def test_zeros_after_the_end_mark_are_nothing(name: str, blocks: int, tmp_path: Path) -> None:
    whole = tar_bytes({"a.jpg": b"1"}, format=tarfile.USTAR_FORMAT)[:1024]
    members, error = listed(put(str(tmp_path), name, COMPRESS[name](whole + bytes(512 * blocks))))
    assert [member.path for member in members] == ["a.jpg"]
    assert error is None


def test_a_wrong_checksum_of_the_stream_is_reported(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(tar_bytes(PHOTOS)))
    data[-8] ^= 1  # RFC 1952: the CRC-32 of the content is the last but one word
    members, error = listed(put(str(tmp_path), "a.tar.gz", bytes(data)))
    assert len(members) == len(PHOTOS)
    assert error is not None
    assert "CRC" in str(error)


def test_sizes_that_lie_do_not_loop_or_fill_memory(tmp_path: Path) -> None:
    negative = b"\xff" * 11 + b"\x00"
    huge = b"\x80" + b"\x00" * 3 + b"\x7f" + b"\xff" * 7
    for name, content in {
        "negative.tar": block(b"a.jpg", size=negative),
        "huge.tar": block(b"a.jpg", size=huge),
        "pax.tar": block(b"pax", b"x", b"77777777777\0"),
        "longname.tar": block(b"././@LongLink", b"L", huge),
        "nested.tar": block(b"x", b"L") * 3000,
    }.items():
        members, error = listed(put(str(tmp_path), name, tar_bytes({"ok.jpg": b"1"})[:1024] + content + bytes(1024)))
        assert members[0].path == "ok.jpg", name
        assert error is not None, name
        assert "\n" not in str(error)


def special_tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        kinds = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
        for kind, name in zip(kinds, ("folder", "soft", "hard", "null", "pipe"), strict=True):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (
                kind,
                "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "",
            )
            tar.addfile(info)
        for name, data in (
            ("../../escape.jpg", b"out"),
            ("/abs.jpg", b"abs"),
            ("n" * 300 + ".jpg", b"long"),
            ("", b""),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def test_special_tar_members_are_listed_as_they_are(tmp_path: Path) -> None:
    uri = put(str(tmp_path), "a.tar", special_tar())
    members, error = listed(uri)
    assert error is None
    assert [member.kind for member in members] == ["directory", "link", "file", "device", "device"] + ["file"] * 4
    assert [member.path for member in members[5:]] == [
        "../../escape.jpg",
        "/abs.jpg",
        "n" * 300 + ".jpg",
        "\u201b",
    ]
    found = contents(uri, members)
    assert found["soft"] == found["hard"] == found["null"] == "member_unreadable"
    assert found["../../escape.jpg"] == b"out"
    assert found["n" * 300 + ".jpg"] == b"long"


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_in_any_encoding_survive(format: int, tmp_path: Path) -> None:
    names = ["café.jpg", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "quo\u201bte.jpg"]
    uri = put(str(tmp_path), "a.tar", tar_bytes(dict.fromkeys(names, b"x"), format=format))
    members, error = listed(uri)
    assert error is None
    assert [unescape_name(member.path) for member in members] == names
    assert [member.path for member in members][1] == "caf\u201bE9.jpg"
    assert all(member.path.encode() for member in members)
