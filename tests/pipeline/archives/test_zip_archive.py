"""Zip archives by zipfile: hostile, damaged, encrypted, and larger than 32 bits."""

import io
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline.archives import reader as archives
from pipeline.archives.member import Member
from pipeline.config.limits import Limits
from tests.support.archives import PHOTOS, contents, listed, put, zip_bytes


def test_duplicate_names_keep_their_own_bytes(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as pack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pack.writestr("a.jpg", b"first")
        pack.writestr("a.jpg", b"second")
    uri = put(str(tmp_path), "a.zip", sink.getvalue())
    members, _ = listed(uri)
    assert [outcome for _, outcome in archives.read_members(uri, "zip", members, Limits())] == [b"first", b"second"]


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
    members = list(archives.list_members(uri, "zip", Limits()))
    assert len(members) == 65_606
    found = dict(archives.read_members(uri, "zip", members[:6], Limits()))
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


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """A zip in which a name has other bytes, as many as before."""
    assert len(old) == len(new)
    return data.replace(old, new)


def test_offsets_modulo_4_gib(tmp_path: Path) -> None:
    """As the Archive Utility of macOS writes them: no zip64 records, in a file that is longer."""
    photos = {"first.jpg": b"1" * 900, "film.mov": b"-" * 2000, "last.jpg": b"9" * 700, "film2.mov": b"+" * 500}
    data = zip_bytes(photos, 0)
    middle = data.index(b"-" * 2000) + 1000
    path = tmp_path / "a.zip"
    with open(path, "wb") as file:
        file.write(data[:middle])
        file.seek(1 << 32, io.SEEK_CUR)  # a hole: all that comes after it keeps its offset modulo 2^32
        file.write(data[middle:])
    members, error = listed(str(path))
    assert error is None
    found = contents(str(path), members)
    assert {name: found[name] for name in ("first.jpg", "last.jpg", "film2.mov")} == {
        name: data for name, data in photos.items() if name != "film.mov"
    }
    assert found["film.mov"] == "member_unreadable"  # it has 4 GiB and 2000 bytes, which no zip without zip64 can say


def test_backslashes_part_folders_where_no_name_has_a_slash(tmp_path: Path) -> None:
    data = renamed(zip_bytes({"box1|": b"", "box1|1927|a.jpg": b"a"}), b"|", b"\\")
    members, _ = listed(put(str(tmp_path), "windows.zip", data))
    assert [(member.path, member.kind) for member in members] == [("box1/", "directory"), ("box1/1927/a.jpg", "file")]
    data = renamed(zip_bytes({"box1/a.jpg": b"a", "b|c.jpg": b"a"}), b"|", b"\\")
    assert [member.path for member in listed(put(str(tmp_path), "unix.zip", data))[0]] == ["box1/a.jpg", "b\\c.jpg"]


@pytest.mark.parametrize(("code_page", "name"), [("", "ò/èw.jpg"), ("cp932", "表学.jpg"), ("cp1252", "•/Šw.jpg")])
def test_names_in_a_code_page(code_page: str, name: str, tmp_path: Path) -> None:
    data = renamed(zip_bytes({"abcd.jpg": b"a"}), b"abcd", "表学".encode("cp932"))  # its second byte is a backslash
    uri = put(str(tmp_path), "a.zip", data)
    assert [member.path for member in archives.list_members(uri, "zip", Limits(), code_page)] == [name]


def test_the_unicode_path_counts_if_it_belongs_to_the_name(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as pack:
        for raw, of in ((b"1.jpg", b"1.jpg"), (b"2.jpg", b"earlier.jpg")):
            info = zipfile.ZipInfo(raw.decode())
            body = b"\1" + zlib.crc32(of).to_bytes(4, "little") + "卒業.jpg".encode()
            info.extra = b"up" + len(body).to_bytes(2, "little") + body
            pack.writestr(info, raw)
    uri = put(str(tmp_path), "a.zip", sink.getvalue())
    members, _ = listed(uri)
    assert contents(uri, members) == {"卒業.jpg": b"1.jpg", "2.jpg": b"2.jpg"}
