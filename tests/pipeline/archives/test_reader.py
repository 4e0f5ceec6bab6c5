"""Archives of every format, whole and damaged: recognised, listed, and read with few requests."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.archives import unread
from pipeline.archives.member import ArchiveError, Member
from pipeline.archives.names import escape_name, unescape_name
from pipeline.config.limits import Limits
from tests.support.archives import PHOTOS, CountedFileSystem, contents, listed, put, tar_bytes, zip_bytes

MAKERS = {
    "tar": lambda files: tar_bytes(files),
    "tar.gz": lambda files: tar_bytes(files, "w:gz"),
    "tar.bz2": lambda files: tar_bytes(files, "w:bz2"),
    "tar.xz": lambda files: tar_bytes(files, "w:xz"),
    "tar.zst": lambda files: pa.Codec("zstd").compress(tar_bytes(files), asbytes=True),
    "zip": lambda files: zip_bytes(files),
}


@pytest.mark.parametrize("format", MAKERS)
@pytest.mark.parametrize("root", ["local", "memory"])
def test_every_format_is_listed_and_read(format: str, root: str, tmp_path: Path) -> None:
    folder = str(tmp_path) if root == "local" else f"memory://{tmp_path.name}"
    uri = put(folder, "photos.bin", MAKERS[format](PHOTOS))
    assert archives.archive_format(uri) == format
    members, error = listed(uri)
    assert error is None
    assert {member.path: member.bytes for member in members} == {name: len(data) for name, data in PHOTOS.items()}
    assert contents(uri, members) == PHOTOS
    some = [members[4], members[1]]
    assert contents(uri, some) == {member.path: PHOTOS[member.path] for member in some}


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    assert archives.archive_format(put(str(tmp_path), "really_a_zip.tar", zip_bytes(PHOTOS))) == "zip"
    assert archives.archive_format(put(str(tmp_path), "really_a_tar.zip", tar_bytes(PHOTOS))) == "tar"
    assert archives.archive_format(put(str(tmp_path), "photo.jpg", b"\xff\xd8\xff" + bytes(600))) is None
    assert archives.archive_format(put(str(tmp_path), "no_members.tar", tar_bytes({}))) == "tar"
    assert listed(str(tmp_path / "no_members.tar")) == ([], None)


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.tar.gz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all"])
def test_named_like_an_archive_and_none(name: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=name) as caught:
        archives.archive_format(put(str(tmp_path), name, data))
    assert caught.value.error_type == ("archive_unreadable" if data else "archive_truncated")


def test_plain_members_cost_one_ranged_request_each() -> None:
    sizes = {f"{n}.jpg": os.urandom(200_000) for n in range(8)}
    for name, data in (
        ("a.tar", tar_bytes(sizes)),
        ("a.zip", zip_bytes(sizes)),
        ("b.zip", zip_bytes(sizes, 0)),
    ):
        uri = put("counted://ranged", name, data)
        CountedFileSystem.reset()
        members, _ = listed(uri)
        assert CountedFileSystem.bytes_read < 150_000  # headers; a zip's end records are searched in 64 KiB
        CountedFileSystem.reset()
        wanted = members[2:5]
        assert contents(uri, wanted) == {member.path: sizes[member.path] for member in wanted}
        assert CountedFileSystem.requests == len(wanted) + 1  # and one to tell the format
        assert CountedFileSystem.bytes_read <= 1.05 * sum(member.stored_bytes for member in wanted) + 512
        assert CountedFileSystem.opened == 0


def test_small_members_are_listed_with_few_requests() -> None:
    uri = put("counted://small", "a.tar", tar_bytes({f"{n}.jpg": bytes(2000) for n in range(2000)}))
    CountedFileSystem.reset()
    assert len(listed(uri)[0]) == 2000
    assert CountedFileSystem.requests < 30


@pytest.mark.parametrize("format", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_compressed_tar_is_read_once(format: str) -> None:
    uri = put("counted://stream", "a." + format, MAKERS[format](PHOTOS))
    members, _ = listed(uri)
    CountedFileSystem.reset()
    found = list(archives.read_members(uri, format, members[::-1], Limits()))
    assert [member.path for member, _ in found] == list(PHOTOS)
    assert CountedFileSystem.bytes_read == storage.describe(uri)[1]


@pytest.mark.parametrize("format", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_truncated_compressed_tar_lists_what_came_before(format: str, tmp_path: Path) -> None:
    noise = {f"{n}.jpg": os.urandom(300_000) for n in range(12)}
    data = MAKERS[format](noise)
    uri = put(str(tmp_path), "cut", data[: len(data) * 7 // 10])
    members, error = listed(uri)
    assert error is not None
    assert error.error_type.startswith("archive_")
    assert "\n" not in str(error)
    assert 5 <= len(members) <= 10
    outcomes = list(archives.read_members(uri, format, members, Limits()))
    assert len(outcomes) == len(members)
    assert all(outcome == noise[member.path] for member, outcome in outcomes[:-2])
    assert isinstance(outcomes[-1][1], ArchiveError)


def test_a_stream_damaged_in_the_middle_fails_every_member_behind(tmp_path: Path) -> None:
    noise = {f"{n}.jpg": os.urandom(200_000) for n in range(6)}
    data = MAKERS["tar.gz"](noise)
    uri = put(str(tmp_path), "a.tar.gz", data)
    members, _ = listed(uri)
    half = len(data) // 2
    put(str(tmp_path), "a.tar.gz", data[:half] + bytes(1000) + data[half + 1000 :])
    outcomes = list(archives.read_members(uri, "tar.gz", members, Limits()))
    assert [member for member, _ in outcomes] == members
    assert outcomes[0][1] == noise["0.jpg"]


@given(st.binary(max_size=20))
def test_names_are_reversible(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    path = escape_name(name)
    assert path.encode()
    assert unescape_name(path).encode("utf-8", "surrogateescape") == raw


def test_a_folder_is_an_archive_of_loose_files(tmp_path: Path) -> None:
    for name, data in PHOTOS.items():
        put(str(tmp_path), name, data)
    raw = b"caf\xe9.jpg"
    with open(os.fsencode(tmp_path) + b"/" + raw, "wb") as file:
        file.write(b"latin")
    put(str(tmp_path), "inner.tar", tar_bytes(PHOTOS))
    (tmp_path / "soft.jpg").symlink_to("/etc/passwd")
    members = list(archives.list_members(str(tmp_path), "folder", Limits()))
    assert [member.path for member in members] == [*PHOTOS, "caf\u201bE9.jpg", "soft.jpg"]
    gone = Member("gone.jpg", "file", 1, 0, 1)
    found = dict(archives.read_members(str(tmp_path), "folder", [*members, gone], Limits()))
    assert found[members[0]] == PHOTOS["album/00.jpg"]
    assert found[members[6]] == b"latin"
    assert [type(found[member]) for member in (members[7], gone)] == [ArchiveError, ArchiveError]


def test_a_missing_archive_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError, match="gone.tar: no such file"):
        archives.archive_format(str(tmp_path / "gone.tar"))


WHOLE = {name: make({"a.jpg": b"1" * 600, "b.jpg": b"2" * 600}) for name, make in MAKERS.items()}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_no_damage_escapes_as_another_error(format: str, at: int, noise: bytes, cut: bool) -> None:
    data = WHOLE[format]
    at %= len(data)
    damaged = data[:at] if cut else data[:at] + noise + data[at + len(noise) :]
    uri = put("memory://damage", f"a.{format}", damaged)
    members, error = listed(uri)
    if error is None or members:
        found = contents(uri, [member for member in members if member.kind == "file"])
        assert len(found) <= len(members)


def test_archives_that_are_not_read_by_content_and_by_name() -> None:
    office = zip_bytes({"[Content_Types].xml": b"", "word/media/a.jpg": b""})
    assert unread.kind_of(office) is None
    assert unread.kind_of(zip_bytes(PHOTOS)) == "a zip archive"
    assert unread.kind_of(bytes(32769) + b"CD001") == "an ISO image"
    assert unread.kind_of(b"\xff\xd8\xff\xe0") is None
    told = (
        "a.RAR",
        "a.part2.rar",
        "a.r07",
        "a.z12",
        "a.7z.003",
        "a.zip.001",
        "b.warc.gz",
        "c.tar.lz",
        "d.iso",
        "e\n.cab",
    )
    assert all(unread.named_like(name) for name in told)
    assert not any(map(unread.named_like, ("a.zip", "a.tar", "a.jpg", "a.001", "rar", "a.rar.jpg", "iso.tif")))
