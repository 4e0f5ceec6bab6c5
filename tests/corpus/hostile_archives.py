"""Hostile zips, and files that only claim to be archives."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config.limits import RATIO_COUNTS_FROM
from tests.corpus.hostile import GOOD, Case, good
from tests.support.archives import tar_bytes, zip_bytes

FAILED, SKIPPED = "failed", "skipped"
LARGE = RATIO_COUNTS_FROM + (1 << 20)  # from here on a ratio counts


@dataclass
class Entry:
    """A member of a zip with any value in every field. None: the correct value."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    extra: bytes = b""
    attributes: int = 0
    made_by: int = 3 << 8
    local: bytes | None = None


def raw_zip(*entries: Entry, comment: bytes = b"", count: int | None = None, disk: int = 0, start: int = 0) -> bytes:
    """A zip by PKWARE APPNOTE 4.3; `start` is added to the stated offset of its central directory."""
    body, directory = b"", b""
    for entry in entries:
        packed = entry.data if entry.packed is None else entry.packed
        stored = len(packed) if entry.packed_size is None else entry.packed_size
        size = len(entry.data) if entry.size is None else entry.size
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        offset = len(body) if entry.offset is None else entry.offset
        middle = struct.pack("<4H3L", entry.flags, entry.method, 0, 33, crc, stored, size)
        names = struct.pack("<2H", len(entry.name), len(entry.extra))
        central = struct.pack("<4s2H", b"PK\1\2", entry.made_by, 20) + middle + names
        directory += central + struct.pack("<3H2L", 0, 0, 0, entry.attributes, offset) + entry.name + entry.extra
        local = struct.pack("<4sH", b"PK\3\4", 20) + middle + names + entry.name + entry.extra
        body += (local if entry.local is None else entry.local) + packed
    number = len(entries) if count is None else count
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", disk, disk, number, number, len(directory), len(body) + start, len(comment)
    )
    return body + directory + end + comment


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zeros_deflated(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


def beside(*entries: Entry, **fields: int | bytes) -> bytes:
    """These entries after a good photo."""
    return raw_zip(Entry(b"good.jpg", good()), *entries, **fields)  # type: ignore[arg-type]


def _no_archives() -> Iterator[Case]:
    for file, data, error_type in (
        ("empty.zip", b"", "archive_truncated"),
        ("empty.tar", b"", "archive_truncated"),
        ("empty.tar.gz", b"", "archive_truncated"),
        ("text.zip", b"just words, no archive\n" * 40, "archive_unreadable"),
        ("photo.tar", good(), "archive_unreadable"),
        ("rar.zip", b"Rar!\x1a\x07\x01\0" + bytes(600), "unsupported_archive"),
        ("7z.tar", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(600), "unsupported_archive"),
        ("gzip_of_text.tar.gz", gzip.compress(b"words" * 500), "archive_unreadable"),
        ("gzip_header_alone.tar.gz", b"\x1f\x8b\x08\0", "archive_truncated|archive_unreadable"),
        ("zstd_garbage.tar.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 600, "archive_unreadable"),
        ("xz_garbage.tar.xz", b"\xfd7zXZ\0" + b"\xff" * 600, "archive_unreadable"),
        ("bzip2_garbage.tar.bz2", b"BZh9" + b"\xff" * 600, "archive_unreadable"),
        ("zip_signature_alone.zip", b"PK\3\4", "archive_truncated"),
    ):
        yield Case(f"not an archive: {file}", file, data, {("", FAILED, error_type)})


def _members() -> Iterator[Case]:
    photo, packed = good(), deflated(good())
    aes = Entry(b"aes.jpg", photo, 99, 1, extra=b"\x01\x99\x07\0\2\0AE\3\x08\0")
    refused = {
        "wrong CRC": (Entry(b"a.jpg", photo, crc=1), "member_unreadable"),
        "size too small": (Entry(b"a.jpg", photo, 8, packed=packed, size=100), "member_unreadable"),
        "size too large": (Entry(b"a.jpg", photo, 8, packed=packed, size=10**8), "member_unreadable"),
        "stored size too small": (Entry(b"a.jpg", photo, packed_size=10), "member_unreadable"),
        "4 GiB claimed": (Entry(b"a.jpg", photo, size=0xFFFFFFFE), "too_large"),
        "deflate garbage": (Entry(b"a.jpg", photo, 8, packed=b"\xff" * 500), "member_unreadable"),
        "deflate cut short": (Entry(b"a.jpg", photo, 8, packed=packed[:-50]), "member_unreadable"),
        "traditional encryption": (Entry(b"a.jpg", photo, flags=1), "encrypted"),
        "AES encryption": (aes, "encrypted|unsupported_compression"),
        "strong encryption": (Entry(b"a.jpg", photo, flags=0x41), "encrypted"),
        "lzma": (Entry(b"a.jpg", photo, 14), "unsupported_compression"),
        "a method that nobody knows": (Entry(b"a.jpg", photo, 77), "unsupported_compression"),
        "no local header": (Entry(b"a.jpg", photo, local=b""), "member_unreadable"),
        "offset behind the end": (Entry(b"a.jpg", photo, offset=10**9), "member_unreadable"),
        "offset into another member": (Entry(b"a.jpg", photo, offset=7), "member_unreadable"),
        "zip64 sizes missing": (Entry(b"a.jpg", photo, size=0xFFFFFFFF), None),
        "zip64 sizes of 2^64 - 1": (
            Entry(b"a.jpg", photo, size=0xFFFFFFFF, extra=b"\1\0\x08\0" + b"\xff" * 8),
            None,
        ),
        "zip64 offset of 2^63 - 1": (
            Entry(b"a.jpg", photo, offset=0xFFFFFFFF, extra=b"\1\0\x08\0" + b"\xff" * 7 + b"\x7f"),
            "member_unreadable",
        ),
    }
    for name, (entry, error_type) in refused.items():
        lost = (entry.name.decode(), FAILED, error_type) if error_type else ("", FAILED, "archive_unreadable")
        yield Case(f"zip member: {name}", "a.zip", beside(entry), {GOOD, lost})
    fine = ("a.jpg", "no_face", "")
    wide = struct.pack("<2H2Q", 1, 16, len(photo), len(photo))
    yield Case(
        "zip member: zip64 sizes",
        "a.zip",
        beside(Entry(b"a.jpg", photo, size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=wide)),
        {GOOD, fine},
    )
    yield Case(
        "zip member: extra field that leads nowhere",
        "a.zip",
        beside(Entry(b"a.jpg", photo, extra=b"\1\0\xff\xff")),
        {GOOD, fine},
    )
    yield Case(
        "zip member: empty", "a.zip", beside(Entry(b"empty.jpg", b"")), {GOOD, ("empty.jpg", FAILED, "empty_file")}
    )
    for mode in (0o120777, 0o020666, 0o010644):  # a link, a device, a fifo
        entry = Entry(b"a.jpg", b"/etc/passwd", attributes=mode << 16)
        yield Case(f"zip member: mode {mode:o}", "a.zip", beside(entry), {GOOD, ("a.jpg", SKIPPED, "not_a_file")})
    yield Case("zip member: folder", "a.zip", beside(Entry(b"box/", b"")), {GOOD, ("box/", SKIPPED, "not_a_file")})


def _names() -> Iterator[Case]:
    photo = good()
    unsafe = {
        "../../../etc/cron.d/a.jpg": b"../../../etc/cron.d/a.jpg",
        "/etc/a.jpg": b"/etc/a.jpg",
        "C:/a.jpg": b"C:\\a.jpg",
        "//server/share/a.jpg": b"\\\\server\\share\\a.jpg",
        "box/..\\..\\a.jpg": b"box/..\\..\\a.jpg",
        "a\0.jpg": b"a\0.jpg",
    }
    for path, name in unsafe.items():
        yield Case(f"zip name: {path!r}", "a.zip", beside(Entry(name, photo)), {GOOD, (path, FAILED, "unsafe_path")})
    fine = {
        "caf\u201bE9.jpg": (b"caf\xe9.jpg", 1 << 11),
        "café.jpg": (b"caf\x82.jpg", 0),
        "two\nlines.jpg": (b"two\nlines.jpg", 0),
        "bell\x07 and \x1b[31mred.jpg": (b"bell\x07 and \x1b[31mred.jpg", 0),
        "\u202egpj.exe": ("\u202egpj.exe".encode(), 1 << 11),
        "./good.jpg": (b"./good.jpg", 0),
        "CON": (b"CON", 0),
    }
    for path, (name, flags) in fine.items():
        entry = Entry(name, photo, flags=flags)
        yield Case(f"zip name: {path!r}", "a.zip", beside(entry), {GOOD, (path, "no_face", "")})
    yield Case("zip name: none", "a.zip", beside(Entry(b"", photo)), {GOOD, ("\u201b", "no_face", "")})
    deep = "/".join("d" * 80) + "/a.jpg"
    yield Case("zip name: 80 folders", "a.zip", beside(Entry(deep.encode(), photo)), {GOOD, (deep, FAILED, "too_deep")})
    long = "n" * 60_000 + ".jpg"
    yield Case(
        "zip name: 60,000 bytes", "a.zip", beside(Entry(long.encode(), photo)), {GOOD, ("...", FAILED, "name_too_long")}
    )


def _bombs() -> Iterator[Case]:
    zeros = zeros_deflated(LARGE)
    crc = 0
    for _ in range(LARGE >> 20):
        crc = zlib.crc32(bytes(1 << 20), crc)
    bomb = Entry(b"a.jpg", b"", 8, packed=zeros, size=LARGE, crc=crc)
    yield Case("zip bomb: 257 MiB of zeros", "a.zip", beside(bomb), {GOOD, ("a.jpg", FAILED, "too_compressed")})
    small = Entry(b"a.jpg", bytes(50 << 20), 8, packed=zeros_deflated(50 << 20))
    yield Case("zip bomb: 50 MiB of zeros", "a.zip", beside(small), {GOOD, ("a.jpg", FAILED, "not_an_image")})
    hidden = Entry(b"a.jpg", b"", 8, packed=zeros, size=1000, crc=crc)
    yield Case("zip bomb: size hidden", "a.zip", beside(hidden), {GOOD, ("a.jpg", FAILED, "member_unreadable")})
    large = Entry(b"a.jpg", good())
    yield Case(
        "zip member: over the limit", "a.zip", beside(large),
        {(name, FAILED, "too_large") for name in ("good.jpg", "a.jpg")}, {"member_bytes": 500},
    )  # fmt: skip
    kernel = Entry(b"0.jpg", bytes(100_000))
    overlapping = [Entry(f"{n}.jpg".encode(), bytes(100_000), packed=b"", packed_size=100_000, offset=0, local=b"")
                   for n in range(1, 200)]  # fmt: skip
    yield Case(
        "zip bomb: members overlap", "a.zip", raw_zip(kernel, *overlapping),
        {("0.jpg", FAILED, "not_an_image"), ("", FAILED, "too_compressed")},
    )  # fmt: skip
    nested = good()
    for _ in range(20):
        nested = zip_bytes({"inner.zip": nested})
    yield Case("zip in zip, 20 deep", "a.zip", nested, {("inner.zip", FAILED, "unsupported_archive")})
    yield Case(
        "tar in zip", "a.zip", beside(Entry(b"b.tar", tar_bytes({"a.jpg": good()}))),
        {GOOD, ("b.tar", FAILED, "unsupported_archive")},
    )  # fmt: skip
    yield Case(
        "zip of more members than the limit", "a.zip", zip_bytes({f"{n}.jpg": good() for n in range(30)}),
        {*((f"{n}.jpg", "no_face", "") for n in range(10)), ("", FAILED, "too_many_members")}, {"members": 10},
    )  # fmt: skip


def _structure() -> Iterator[Case]:
    whole = zip_bytes({"good.jpg": good(), "b.jpg": good()})
    both = {GOOD, ("b.jpg", "no_face", "")}
    end = whole.rindex(b"PK\5\6")
    second = whole.index(b"PK\1\2", whole.index(b"PK\1\2") + 1)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as pack:
        for n in range(2):
            pack.writestr(f"{'good' if n == 0 else 'b'}.jpg", good())
        pack.comment = b"PK\5\6 in a comment " * 3000
    yield Case("zip: comment with end records", "a.zip", sink.getvalue(), both)
    yield Case("zip: program before it", "a.zip", b"PK\3\4#!/bin/sh\n" + bytes(5000) + whole, both)
    yield Case("zip: cut before its end record", "a.zip", whole[:end], {("", FAILED, "archive_truncated")})
    yield Case("zip: cut in its first member", "a.zip", whole[:300], {("", FAILED, "archive_truncated")})
    yield Case("zip: garbage behind it", "a.zip", whole + b"\xff" * 1000, both)
    damaged = whole[:second] + b"XXXX" + whole[second + 4 :]
    yield Case("zip: damaged directory", "a.zip", damaged, {GOOD, ("", FAILED, "archive_unreadable")})
    yield Case("zip: one of several disks", "a.zip", beside(disk=3), {("", FAILED, "unsupported_archive")})
    yield Case("zip: counts too many", "a.zip", beside(count=9), {GOOD, ("", FAILED, "archive_unreadable")})
    yield Case("zip: directory behind the end", "a.zip", beside(start=10**6), {("", FAILED, "archive_unreadable")})
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, (1 << 64) - 1, 1)
    yield Case(
        "zip: zip64 locator that leads nowhere", "a.zip", whole[:end] + locator + whole[end:],
        {("", FAILED, "archive_unreadable")},
    )  # fmt: skip
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 60, 1 << 62)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    yield Case(
        "zip: zip64 directory of 2^60 bytes", "a.zip", whole[:end] + record + locator + whole[end:],
        {("", FAILED, "archive_unreadable")},
    )  # fmt: skip
    twice = raw_zip(Entry(b"good.jpg", good()), Entry(b"good.jpg", good()))
    yield Case("zip: a name twice", "a.zip", twice, {GOOD})


GROUPS = {
    "zips, no archives": _no_archives,
    "zips, members": _members,
    "zips, names": _names,
    "zips, bombs": _bombs,
    "zips, structure": _structure,
}
