"""Hostile tars, plain and compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from tests.corpus.hostile import GOOD, Case, good
from tests.corpus.hostile_archives import FAILED, LARGE, SKIPPED
from tests.support.archives import tar_bytes

END = bytes(1024)
BROKEN = ("", FAILED, "archive_unreadable")
CUT = ("", FAILED, "archive_truncated")

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def block(
    name: bytes, type: bytes = b"0", size: bytes = b"00000000000\0", prefix: bytes = b"", magic: bytes = b"ustar\00000"
) -> bytes:
    """A tar header with any bytes in its fields and a correct checksum."""
    header = bytearray(512)
    header[0 : len(name)] = name
    header[100:108] = b"0000644\0"
    header[124:136] = size
    header[148:156] = b" " * 8
    header[156:157] = type
    header[257:265] = magic
    header[345 : 345 + len(prefix)] = prefix
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes, type: bytes = b"0", **fields: bytes) -> bytes:
    return block(name, type, octal(len(data)), **fields) + filled(data)


def first() -> bytes:
    """A good photo, the first member of every hostile tar."""
    return member(b"good.jpg", good())


def record(keyword: bytes, value: bytes) -> bytes:
    """A pax record; its length counts its own digits."""
    size = len(keyword) + len(value) + 3
    digits = next(n for n in range(1, 9) if len(str(size + n)) == n)
    return b"%d %s=%s\n" % (size + digits, keyword, value)


def _sizes() -> Iterator[Case]:
    lies = {
        "negative, base 256": b"\xff" * 11 + b"\x00",
        "2^87, base 256": b"\x80" + b"\xff" * 11,
        "not octal": b"99999999999\0",
        "letters": b"size is big\0",
        "minus": b"-0000000001\0",
    }
    for name, size in lies.items():
        yield Case(f"tar size: {name}", "a.tar", first() + block(b"a.jpg", size=size) + END, {GOOD, BROKEN})
    for name, size in {"2^63 - 1": b"\x80\0\0\0\x7f" + b"\xff" * 7, "8 GiB": b"77777777777\0"}.items():
        data = first() + block(b"a.jpg", size=size) + END
        yield Case(f"tar size: {name}", "a.tar", data, {GOOD, ("a.jpg", FAILED, "too_large"), CUT})
    base256 = b"\x80" + len(good()).to_bytes(11, "big")
    data = first() + block(b"a.jpg", size=base256) + filled(good()) + END
    yield Case("tar size: small, base 256", "a.tar", data, {GOOD, ("a.jpg", "no_face", "")})
    data = first() + block(b"a.jpg", size=b" 0%o \0" % len(good()) + bytes(4)) + filled(good()) + END
    yield Case("tar size: octal with blanks", "a.tar", data, {GOOD, ("a.jpg", "no_face", "")})


def _headers() -> Iterator[Case]:
    whole = first() + member(b"b.jpg", good()) + END
    flipped = bytearray(whole)
    flipped[len(first()) + 3] ^= 0x40
    yield Case("tar: damaged header", "a.tar", bytes(flipped), {GOOD, BROKEN})
    garbage = first() + b"\xa5" * 512 + member(b"b.jpg", good()) + END
    yield Case("tar: garbage between members", "a.tar", garbage, {GOOD, BROKEN})
    zeroed = first() + bytes(512) + member(b"b.jpg", good()) + END
    yield Case("tar: a header of zeros", "a.tar", zeroed, {GOOD, BROKEN})
    yield Case("tar: cut in a header", "a.tar", whole[: len(first()) + 200], {GOOD, CUT})
    cut = {GOOD, ("b.jpg", FAILED, "archive_truncated"), CUT}
    yield Case("tar: cut in a member", "a.tar", whole[: len(first()) + 600], cut)
    yield Case("tar: no end mark", "a.tar", first(), {GOOD, CUT})
    yield Case("tar: two in one file", "a.tar", first() + END + first() + END, {GOOD, BROKEN})
    pax = {
        "8 GiB": block(b"pax", b"x", b"77777777777\0"),
        "2 MiB": member(b"pax", record(b"comment", b"x" * (2 << 20)), b"x") + member(b"a.jpg", good()),
        "lengths that lie": member(b"pax", b"2 " * 100_000 + b"=", b"x") + member(b"a.jpg", good()),
        "a run of digits": member(b"pax", record(b"comment", b"1" * 900_000), b"x") + member(b"a.jpg", good()),
        "length 0": member(b"pax", b"0 a=b\n", b"x") + member(b"a.jpg", good()),
        "no keyword": member(b"pax", b"6 =ab\n", b"x") + member(b"a.jpg", good()),
        "binary": member(b"pax", bytes(range(1, 256)) * 4, b"x") + member(b"a.jpg", good()),
        "a size of 5000 digits": member(b"pax", record(b"size", b"9" * 5000), b"x") + member(b"a.jpg", good()),
        "10,000 in a row": member(b"pax", record(b"comment", b"x"), b"x") * 10_000 + member(b"a.jpg", good()),
        "followed by nothing": member(b"pax", record(b"path", b"a.jpg"), b"x"),
        "global, 1000 keywords": b"".join(
            member(b"g", record(b"key%d" % n, b"value"), b"g") + member(b"good.jpg", good()) for n in range(1000)
        ),
    }
    for name, data in pax.items():
        yield Case(f"tar, pax header: {name}", "a.tar", first() + data + END, {GOOD, ("", FAILED, BROKEN[2])})
    size = member(b"pax", record(b"size", b"-5"), b"x") + member(b"a.jpg", good()) + END
    yield Case("tar, pax header: negative size", "a.tar", first() + size, {GOOD, BROKEN})
    loop = block(b"././@LongLink", b"L", octal(10)) * 3000
    yield Case("tar: GNU long names without end", "a.tar", first() + loop + END, {GOOD, BROKEN})
    huge = block(b"././@LongLink", b"L", b"\x80\0\0\0\x7f" + b"\xff" * 7)
    yield Case("tar: GNU long name of 2^63 bytes", "a.tar", first() + huge + END, {GOOD, BROKEN})


def _kinds() -> Iterator[Case]:
    lost = {GOOD, ("a.jpg", FAILED, "member_unreadable")}
    yield Case("tar: hard link to nothing", "a.tar", first() + block(b"a.jpg", b"1") + END, lost)
    yield Case("tar: rest of a file", "a.tar", first() + member(b"a.jpg", good(), b"M") + END, lost)
    kinds = {"symbolic link": b"2", "character device": b"3", "block device": b"4", "fifo": b"6"}
    for name, type in kinds.items():
        data = first() + block(b"a.jpg", type) + END
        yield Case(f"tar: {name}", "a.tar", data, {GOOD, ("a.jpg", SKIPPED, "not_a_file")})
    yield Case("tar: a folder", "a.tar", first() + block(b"box/", b"5") + END, {GOOD, ("box", SKIPPED, "not_a_file")})
    unknown = first() + member(b"a.jpg", good(), b"Q") + END
    yield Case("tar: a type nobody knows is a file", "a.tar", unknown, {GOOD, ("a.jpg", "no_face", "")})
    contiguous = first() + member(b"a.jpg", good(), b"7") + END
    yield Case("tar: a contiguous file", "a.tar", contiguous, {GOOD, ("a.jpg", "no_face", "")})
    volume = first() + block(b"label of the tape", b"V") + END
    yield Case("tar: a volume header", "a.tar", volume, {GOOD})
    sparse = bytearray(block(b"a.jpg", b"S", octal(512), magic=b"ustar  \0"))
    sparse[386:410] = octal(0) + octal(512)
    sparse[483:495] = octal(1 << 30)
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    refused = ("a.jpg", FAILED, "unsupported_compression")
    yield Case("tar: old GNU sparse, 1 GiB", "a.tar", first() + bytes(sparse) + bytes(512) + END, {GOOD, refused})
    chained = bytearray(sparse)
    chained[482] = 1
    chained[148:156] = b" " * 8
    chained[148:156] = b"%06o\0 " % sum(chained)
    more = (octal(512) + octal(512)) * 21 + b"\1" + bytes(7)
    endless = first() + bytes(chained) + more * 4000 + END
    yield Case("tar: sparse headers without end", "a.tar", endless, {GOOD, BROKEN})
    fields = (
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0") + record(b"GNU.sparse.realsize", b"9")
    )
    pax = member(b"pax", fields, b"x")
    map10 = first() + pax + member(b"a.jpg", filled(b"1\n0\n9\n") + bytes(9)) + END
    yield Case("tar: pax sparse 1.0", "a.tar", map10, {GOOD, refused})
    endless = first() + pax + member(b"a.jpg", b"9" * (2 << 20)) + END
    yield Case("tar: pax sparse 1.0 without end", "a.tar", endless, {GOOD, BROKEN})


def _forms() -> Iterator[Case]:
    deep = "/".join("d" * 80) + "/a.jpg"
    files = {"good.jpg": good(), "ü" * 60 + ".jpg": good(), "caf\udce9.jpg": good()}
    spelled = {GOOD, ("ü" * 60 + ".jpg", "no_face", ""), ("caf\u201bE9.jpg", "no_face", "")}
    for name, form in (("pax", tarfile.PAX_FORMAT), ("GNU", tarfile.GNU_FORMAT)):
        yield Case(f"tar: {name}, odd names", "a.tar", tar_bytes(files, format=form), spelled)
    old = member(b"good.jpg", good(), b"\0", magic=bytes(8)) + END
    yield Case("tar: v7", "a.tar", old, {GOOD})
    folder = block(b"box/", b"\0", magic=bytes(8)) + old
    yield Case("tar: v7 with a folder", "a.tar", folder, {GOOD, ("box", SKIPPED, "not_a_file")})
    split = first() + member(b"a.jpg", good(), prefix=b"p" * 150) + END
    yield Case("tar: ustar prefix", "a.tar", split, {GOOD, ("p" * 150 + "/a.jpg", "no_face", "")})
    for path in ("../../a.jpg", "/etc/a.jpg", "c:\\a.jpg", "box/../../a.jpg"):
        data = tar_bytes({"good.jpg": good(), path: good()})
        yield Case(f"tar name: {path!r}", "a.tar", data, {GOOD, (path, FAILED, "unsafe_path")})
    yield Case(
        "tar name: 80 folders", "a.tar", tar_bytes({"good.jpg": good(), deep: good()}),
        {GOOD, (deep, FAILED, "too_deep")},
    )  # fmt: skip
    for path in ("two\nlines.jpg", "\x1b[2J.jpg"):
        data = tar_bytes({"good.jpg": good(), path: good()})
        yield Case(f"tar name: {path!r}", "a.tar", data, {GOOD, (path, "no_face", "")})
    yield Case("tar name: none", "a.tar", first() + member(b"", good()) + END, {GOOD, ("\u201b", "no_face", "")})
    long = tar_bytes({"good.jpg": good(), "n" * 500_000 + ".jpg": good()})
    yield Case("tar name: 500,000 bytes", "a.tar", long, {GOOD, ("...", FAILED, "name_too_long")})
    nul = first() + member(b"pax", record(b"path", b"a\0b.jpg"), b"x") + member(b"a.jpg", good()) + END
    yield Case("tar name: NUL", "a.tar", nul, {GOOD, ("a\0b.jpg", FAILED, "unsafe_path")})
    yield Case("tar: a name three times", "a.tar", first() * 3 + END, {GOOD})
    yield Case("tar: no members", "a.tar", END, set())
    yield Case(
        "tar: an empty member", "a.tar", first() + block(b"a.jpg") + END, {GOOD, ("a.jpg", FAILED, "empty_file")}
    )
    inner = first() + member(b"b.tar", first() + END) + END
    yield Case("tar in tar", "a.tar", inner, {GOOD, ("b.tar", FAILED, "unsupported_archive")})
    yield Case(
        "tar of more members than the limit", "a.tar", tar_bytes({f"{n}.jpg": good() for n in range(30)}),
        {*((f"{n}.jpg", "no_face", "") for n in range(10)), ("", FAILED, "too_many_members")}, {"members": 10},
    )  # fmt: skip


def zeros(format: str, before: bytes, size: int) -> bytes:
    """A compressed tar: `before`, then zeros, compressed piece by piece."""
    pieces = [before, *[bytes(1 << 20)] * (size >> 20)]
    if format == "tar.zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            for piece in pieces:
                packed.write(piece)
        return bytes(sink.getvalue())
    packers: dict[str, Any] = {
        "tar.gz": zlib.compressobj(9, zlib.DEFLATED, 31),
        "tar.bz2": bz2.BZ2Compressor(),
        "tar.xz": lzma.LZMACompressor(preset=0),
    }
    return b"".join(map(packers[format].compress, pieces)) + bytes(packers[format].flush())


def _bombs() -> Iterator[Case]:
    stopped = ("", FAILED, "too_compressed")
    for format in COMPRESS:
        data = zeros(format, first() + block(b"a.jpg", size=octal(LARGE + (10 << 20))), LARGE + (10 << 20))
        lost = ("a.jpg", FAILED, "too_compressed")
        yield Case(f"{format} bomb: a member of zeros", f"a.{format}", data, {GOOD, lost, stopped})
    data = zeros("tar.gz", first() + END, LARGE)
    yield Case("tar.gz bomb: behind the end mark", "a.tar.gz", data, {GOOD, stopped})
    small = zeros("tar.gz", first() + block(b"a.jpg", size=octal(50 << 20)), (50 << 20) + (1 << 20))
    yield Case("tar.gz bomb: 50 MiB", "a.tar.gz", small, {GOOD, ("a.jpg", FAILED, "not_an_image")})
    window = lzma.compress(first() + END, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}])
    yield Case("tar.xz: a window of 1 GiB", "a.tar.xz", window, {BROKEN})


def _streams() -> Iterator[Case]:
    noise = random.Random(1).randbytes(2_000_000)  # several blocks of bzip2, which loses them whole
    for format, compress in COMPRESS.items():
        whole = compress(first() + member(b"noise.bin", noise) + member(b"c.jpg", good()) + END)
        end = ("", FAILED, "archive_truncated|archive_unreadable")
        lost = ("noise.bin", FAILED, "archive_truncated|archive_unreadable")
        yield Case(f"{format}: cut short", f"a.{format}", whole[: len(whole) // 2], {GOOD, lost, end})
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0x10
        yield Case(f"{format}: a bit flipped", f"a.{format}", bytes(flipped), {("*", "*", "*")})
        yield Case(
            f"{format}: garbage behind it", f"a.{format}", compress(first() + END) + b"\xa5" * 3000,
            {GOOD} if format == "tar.bz2" else {GOOD, end},  # Python's bz2 does not read it, like bzip2
        )  # fmt: skip
    joined = lzma.compress(first()) + bytes(8) + lzma.compress(END)
    yield Case("tar.xz: two streams with padding", "a.tar.xz", joined, {GOOD})


GROUPS = {
    "tars, sizes": _sizes,
    "tars, headers": _headers,
    "tars, kinds": _kinds,
    "tars, forms": _forms,
    "tars, bombs": _bombs,
    "tars, streams": _streams,
}
