"""Archives by tarfile and zipfile, whole, damaged and hostile."""

import io
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import archive, storage
from pipeline.archive import ArchiveError, Member
from pipeline.member import escape_name, unescape_name
from tests.pipeline.archives import PHOTOS, CountedFileSystem, contents, listed, put, tar_bytes, zip_bytes

MAKERS = {
    "tar": lambda files: tar_bytes(files),
    "tar.gz": lambda files: tar_bytes(files, "w:gz"),
    "tar.bz2": lambda files: tar_bytes(files, "w:bz2"),
    "tar.xz": lambda files: tar_bytes(files, "w:xz"),
    "tar.zst": lambda files: zstandard.ZstdCompressor().compress(tar_bytes(files)),
    "zip": lambda files: zip_bytes(files),
}


@pytest.mark.parametrize("format", MAKERS)
@pytest.mark.parametrize("root", ["local", "memory"])
def test_every_format_is_listed_and_read(format: str, root: str, tmp_path: Path) -> None:
    folder = str(tmp_path) if root == "local" else f"memory://{tmp_path.name}"
    uri = put(folder, "photos.bin", MAKERS[format](PHOTOS))
    assert archive.archive_format(uri) == format
    members, error = listed(uri)
    assert error is None
    assert {member.path: member.bytes for member in members} == {
        name: len(data) for name, data in PHOTOS.items()
    }
    assert contents(uri, members) == PHOTOS
    some = [members[4], members[1]]
    assert contents(uri, some) == {member.path: PHOTOS[member.path] for member in some}


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    assert archive.archive_format(put(str(tmp_path), "really_a_zip.tar", zip_bytes(PHOTOS))) == "zip"
    assert archive.archive_format(put(str(tmp_path), "really_a_tar.zip", tar_bytes(PHOTOS))) == "tar"
    assert archive.archive_format(put(str(tmp_path), "photo.jpg", b"\xff\xd8\xff" + bytes(600))) is None
    assert archive.archive_format(put(str(tmp_path), "notes.txt.gz", b"\x1f\x8b broken")) is None
    assert archive.archive_format(put(str(tmp_path), "no_members.tar", tar_bytes({}))) == "tar"
    assert listed(str(tmp_path / "no_members.tar")) == ([], None)


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.tar.gz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all"])
def test_named_like_an_archive_and_none(name: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=name) as caught:
        archive.archive_format(put(str(tmp_path), name, data))
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
def test_a_compressed_tar_is_opened_once(format: str) -> None:
    uri = put("counted://stream", "a." + format, MAKERS[format](PHOTOS))
    members, _ = listed(uri)
    CountedFileSystem.reset()
    found = list(archive.read_members(uri, format, members[::-1]))
    assert [member.path for member, _ in found] == list(PHOTOS)
    assert (CountedFileSystem.opened, CountedFileSystem.requests) == (1, 0)


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
    outcomes = list(archive.read_members(uri, format, members))
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
    outcomes = list(archive.read_members(uri, "tar.gz", members))
    assert [member for member, _ in outcomes] == members
    assert outcomes[0][1] == noise["0.jpg"]


def test_a_damaged_header_is_not_the_end_of_the_archive(tmp_path: Path) -> None:
    """tarfile stops there without a word, and the members behind would be lost without a row."""
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


def header(name: bytes, type: bytes = b"0", size: bytes = b"00000000000\0") -> bytes:
    """A tar header with any bytes in its fields, and the checksum right."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size
    block[148:156] = b" " * 8
    block[156:157] = type
    block[257:265] = b"ustar\00000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_sizes_that_lie_do_not_loop_or_fill_memory(tmp_path: Path) -> None:
    negative = b"\xff" * 11 + b"\x00"
    huge = b"\x80" + b"\x00" * 3 + b"\x7f" + b"\xff" * 7
    for name, block in {
        "negative.tar": header(b"a.jpg", size=negative),
        "huge.tar": header(b"a.jpg", size=huge),
        "pax.tar": header(b"pax", b"x", b"77777777777\0"),
        "longname.tar": header(b"././@LongLink", b"L", huge),
        "nested.tar": header(b"x", b"L") * 3000,
    }.items():
        members, error = listed(
            put(str(tmp_path), name, tar_bytes({"ok.jpg": b"1"})[:1024] + block + bytes(1024))
        )
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
    assert [member.kind for member in members] == ["directory", "link", "link", "device", "device"] + [
        "file"
    ] * 4
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


@given(st.binary(max_size=20))
def test_names_are_reversible(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    path = escape_name(name)
    assert path.encode()
    assert unescape_name(path).encode("utf-8", "surrogateescape") == raw


def test_duplicate_names_keep_their_own_bytes(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as pack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pack.writestr("a.jpg", b"first")
        pack.writestr("a.jpg", b"second")
    uri = put(str(tmp_path), "a.zip", sink.getvalue())
    members, _ = listed(uri)
    assert [outcome for _, outcome in archive.read_members(uri, "zip", members)] == [b"first", b"second"]


def test_zip_kinds_and_names(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as pack:
        pack.writestr("folder/", b"")
        link = zipfile.ZipInfo("soft")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        pack.writestr(link, "/etc/passwd")
        pack.writestr("../../escape.jpg", b"out")
        pack.writestr("cafe.jpg", b"x")
        pack.writestr("tête.jpg", b"x")
    data = sink.getvalue().replace(b"cafe.jpg", b"caf\x82.jpg")  # code page 437
    data = data.replace("tête.jpg".encode(), b"t\xff\xfete.jpg"[:9])  # the UTF-8 bit is set, and it is not
    uri = put(str(tmp_path), "a.zip", data)
    members, error = listed(uri)
    assert error is None
    assert [member.kind for member in members] == ["directory", "link", "file", "file", "file"]
    assert [member.path for member in members[2:]] == [
        "../../escape.jpg",
        "café.jpg",
        "t\u201bFF\u201bFEte.jpg",
    ]
    assert contents(uri, members[2:]) == {
        "../../escape.jpg": b"out",
        "café.jpg": b"x",
        "t\u201bFF\u201bFEte.jpg": b"x",
    }


def test_an_encrypted_or_unknown_zip_member_is_listed_and_refused(tmp_path: Path) -> None:
    encrypted = bytearray(zip_bytes(PHOTOS))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.index(signature) + flags] |= 1
    uri = put(str(tmp_path), "secret.zip", bytes(encrypted))
    members, error = listed(uri)
    assert (len(members), error) == (len(PHOTOS), None)
    found = contents(uri, members)
    assert found.pop("album/00.jpg") == "encrypted"
    assert found == {name: data for name, data in PHOTOS.items() if name != "album/00.jpg"}
    packed = put(str(tmp_path), "lzma.zip", zip_bytes(PHOTOS, zipfile.ZIP_LZMA))
    assert set(contents(packed, listed(packed)[0]).values()) == {"unsupported_compression"}


def test_corrupt_zips(tmp_path: Path) -> None:
    data = zip_bytes(PHOTOS)
    members, error = listed(put(str(tmp_path), "cut.zip", data[:-30]))
    assert members == []
    assert error is not None
    assert error.error_type == "archive_truncated"
    third = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"][2]
    members, error = listed(put(str(tmp_path), "holed.zip", data[:third] + b"XXXX" + data[third + 4 :]))
    assert [member.path for member in members] == list(PHOTOS)[:2]
    assert error is not None
    flipped = bytearray(zip_bytes(PHOTOS, 0))
    flipped[flipped.index(PHOTOS["album/01.jpg"]) + 500] ^= 1
    uri = put(str(tmp_path), "flipped.zip", bytes(flipped))
    found = contents(uri, listed(uri)[0])
    assert found["album/01.jpg"] == "member_unreadable"
    assert found["album/02.jpg"] == PHOTOS["album/02.jpg"]


def test_zip64_and_bytes_before_the_archive(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in PHOTOS.items():
            with pack.open(name, "w", force_zip64=True) as file:
                file.write(data)
        for n in range(65_600):  # more than 65535 members: zip64 end records
            pack.writestr(zipfile.ZipInfo(f"{n}"), b"")
    uri = put(str(tmp_path), "big.zip", b"#!/bin/sh self-extracting\n" + sink.getvalue())
    members = list(archive.list_members(uri, "zip"))
    assert len(members) == 65_606
    found = dict(archive.read_members(uri, "zip", members[:6]))
    assert [found[member] for member in members[:6]] == list(PHOTOS.values())


def test_a_zip_member_with_zip64_sizes(tmp_path: Path) -> None:
    """An entry whose 32-bit fields are all ones, as writers of unknown sizes leave it."""
    data = b"photo" * 100
    plain = zip_bytes({"a.jpg": data}, 0)
    at = plain.index(b"PK\1\2")
    entry, end = bytearray(plain[at:-22]), bytearray(plain[-22:])
    extra = b"\1\0\x18\0" + len(data).to_bytes(8, "little") * 2 + (0).to_bytes(8, "little")
    entry[20:28], entry[42:46], entry[30:32] = b"\xff" * 8, b"\xff" * 4, len(extra).to_bytes(2, "little")
    entry += extra
    end[12:16] = len(entry).to_bytes(4, "little")
    uri = put(str(tmp_path), "a.zip", plain[:at] + bytes(entry) + bytes(end))
    members, error = listed(uri)
    assert error is None
    assert (members[0].bytes, members[0].stored_bytes, members[0].offset) == (500, 500, 0)
    assert contents(uri, members) == {"a.jpg": data}


def test_a_bomb_is_refused_by_its_claim_and_by_its_content(tmp_path: Path) -> None:
    uri = put(str(tmp_path), "a.zip", zip_bytes({"a.jpg": bytes(1_000_000)}))
    member = listed(uri)[0][0]
    lies = Member("a.jpg", "file", 1000, member.offset, member.stored_bytes, "deflate", member.crc32)
    claims = Member("b.jpg", "file", 1 << 40, member.offset, member.stored_bytes, "deflate", member.crc32)
    assert contents(uri, [lies, claims]) == {"a.jpg": "member_unreadable", "b.jpg": "too_large"}


def test_a_folder_is_an_archive_of_loose_files(tmp_path: Path) -> None:
    for name, data in PHOTOS.items():
        put(str(tmp_path), name, data)
    raw = b"caf\xe9.jpg"
    with open(os.fsencode(tmp_path) + b"/" + raw, "wb") as file:
        file.write(b"latin")
    put(str(tmp_path), "inner.tar", tar_bytes(PHOTOS))
    (tmp_path / "soft.jpg").symlink_to("/etc/passwd")
    members = list(archive.list_members(str(tmp_path), "folder"))
    assert [member.path for member in members] == [*PHOTOS, "caf\u201bE9.jpg", "soft.jpg"]
    gone = Member("gone.jpg", "file", 1, 0, 1)
    found = dict(archive.read_members(str(tmp_path), "folder", [*members, gone]))
    assert found[members[0]] == PHOTOS["album/00.jpg"]
    assert found[members[6]] == b"latin"
    assert [type(found[member]) for member in (members[7], gone)] == [ArchiveError, ArchiveError]


def test_a_missing_archive_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError, match="gone.tar: no such file"):
        archive.archive_format(str(tmp_path / "gone.tar"))


WHOLE = {name: make({"a.jpg": b"1" * 600, "b.jpg": b"2" * 600}) for name, make in MAKERS.items()}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans()
)
def test_no_damage_escapes_as_another_error(format: str, at: int, noise: bytes, cut: bool) -> None:
    data = WHOLE[format]
    at %= len(data)
    damaged = data[:at] if cut else data[:at] + noise + data[at + len(noise) :]
    uri = put("memory://damage", f"a.{format}", damaged)
    members, error = listed(uri)
    if error is None or members:
        found = contents(uri, [member for member in members if member.kind == "file"])
        assert len(found) <= len(members)
