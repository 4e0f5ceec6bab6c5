"""Hostile images: bombs, lies, damage and garbage in each format that counts as a photo."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.corpus.hostile import Case
from tests.support import coded_pictures
from tests.support.pictures import Pixels, coffee

FORMATS = {
    "jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "avif": "AVIF",
    "jp2": "JPEG2000",
}  # fmt: skip
CODED = {"heic": coded_pictures.HEIC, "jxl": coded_pictures.JPEG_XL}  # which Pillow does not write
DAMAGED = "truncated|decode_error|not_an_image|unsupported_format|too_large|out_of_memory|too_slow|decoder_crashed"
HUGE = 60_000


def picture(extension: str, pixels: Pixels | None = None, **options: Any) -> bytes:
    """A photo of 64 x 42 px without a face, unless another is given."""
    from PIL import Image

    if extension in CODED:
        return CODED[extension]
    sink = io.BytesIO()
    Image.fromarray(coffee(64) if pixels is None else pixels).save(sink, FORMATS[extension], **options)
    return sink.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with a correct CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def ifd(entries: dict[int, tuple[int, int, int]], following: int = 0) -> bytes:
    """A TIFF directory, little-endian: tag -> (type, count, value or offset)."""
    body = b"".join(struct.pack("<2H2I", tag, *value) for tag, value in sorted(entries.items()))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


SANE = {
    256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
    277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64),
}  # fmt: skip


def tiff(
    changed: dict[int, tuple[int, int, int]] | None = None, width: int = 8, height: int = 8, following: int = 0
) -> bytes:
    """A grey TIFF of one strip at byte 8; `changed`: tag -> (type, count, value)."""
    entries = SANE | {256: (4, 1, width), 257: (4, 1, height), 278: (4, 1, height)} | (changed or {})
    return b"II*\0" + struct.pack("<I", 72) + bytes(range(64)) + ifd(entries, following)


def linked_pages(directories: list[bytes]) -> bytes:
    """A TIFF of these directories, all of one length, over the one strip at byte 8."""
    step, last = len(directories[0]), len(directories) - 1
    parts = [one[:-4] + struct.pack("<I", 72 + (n + 1) * step if n < last else 0) for n, one in enumerate(directories)]
    return tiff()[:72] + b"".join(parts)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def flipped(data: bytes, seed: int) -> bytes:
    """Twenty bits flipped after the first 16 bytes."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(20):
        changed[chance.randrange(16, len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def one(name: str, file: str, data: bytes, status: str, error_type: str = "", **limits: int) -> Case:
    return Case(name, file, data, {(file, status, error_type)}, limits)


def _bombs() -> Iterator[Case]:
    """Headers that claim 60,000 x 60,000 px."""
    side = struct.pack(">I", HUGE)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    bombs = {
        "png": png(HUGE, HUGE, pixels),
        "gif": _gif_bomb(),
        "tif": tiff(None, HUGE, HUGE),
        "bmp": patched(picture("bmp"), 18, struct.pack("<2i", HUGE, HUGE)),
    }
    jpeg = picture("jpg")
    frame = jpeg.index(b"\xff\xc0")
    bombs["jpg"] = patched(jpeg, frame + 5, struct.pack(">2H", HUGE, HUGE))
    avif = picture("avif")
    heic = picture("heic")
    bombs["heic"] = patched(heic, heic.index(b"ispe") + 8, side * 2)
    # Size header of ISO/IEC 18181-1, annex D.2: 18 bits for each side, then "all else is as usual".
    sides = 2 << 1 | (HUGE - 1) << 3 | 2 << 24 | (HUGE - 1) << 26
    bombs["jxl"] = b"\xff\x0a" + (sides | 1 << 44).to_bytes(60, "little")
    bombs["avif"] = patched(avif, avif.index(b"ispe") + 8, side * 2)
    jp2 = picture("jp2")
    size = jp2.index(b"\xff\x51")
    jp2 = patched(patched(jp2, jp2.index(b"ihdr") + 4, side * 2), size + 6, side * 2)
    bombs["jp2"] = jp2
    still = picture("webp")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + struct.pack("<I", HUGE - 1)[:3] * 2
    frames = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    frame_data = still[12:]
    frames += b"ANMF" + struct.pack("<I", 16 + len(frame_data)) + bytes(16) + frame_data
    body = b"WEBP" + canvas + frames
    bombs["webp"] = b"RIFF" + struct.pack("<I", len(body)) + body
    for extension, data in bombs.items():
        yield one(f"{extension} bomb", f"a.{extension}", data, "failed", "too_large|decode_error|truncated")
    yield one("png bomb, interlaced", "a.png", png(HUGE, HUGE, pixels, interlace=1), "failed", "too_large")
    yield one("png bomb, 16 bit", "a.png", png(HUGE, HUGE, pixels, depth=16, colour=6), "failed", "too_large")
    yield one("png of 2^31 px across", "a.png", png((1 << 31) - 1, 1, pixels), "failed", "too_large|decode_error")
    tile = {322: (4, 1, HUGE), 323: (4, 1, HUGE), 324: (4, 1, 8), 325: (4, 1, 64)}
    yield one("tiff bomb, one tile", "a.tif", tiff(tile, HUGE, HUGE), "failed", "too_large|decode_error")
    yield one("photo over the limit of pixels", "a.png", picture("png"), "failed", "too_large", pixels=1000)
    scans = _progressive_bomb()
    yield one("jpeg bomb: 3000 scans", "a.jpg", scans, "failed", f"{DAMAGED}", seconds=3)


def _gif_bomb() -> bytes:
    """Claim a huge screen and first frame; libnsgif uses the frame's size if the screen's is absurd."""
    gif = patched(picture("gif"), 6, struct.pack("<2H", HUGE, HUGE))
    frame = gif.index(b",", 13 + 3 * (2 << (gif[10] & 7)))
    return patched(gif, frame + 5, struct.pack("<2H", HUGE, HUGE))


def _progressive_bomb() -> bytes:
    """A progressive JPEG that repeats its last scan 3000 times: each costs a walk over all coefficients."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(np.zeros((4000, 4000), np.uint8)).save(sink, "JPEG", progressive=True)
    data = sink.getvalue()
    last = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last)
    return data[:-2] + data[tables:-2] * 3000 + data[-2:]


def _damaged() -> Iterator[Case]:
    for extension in (*FORMATS, *CODED):
        whole = picture(extension)
        file = f"a.{extension}"
        # A cut picture may still decode if the last bytes are not pixels.
        yield one(f"{extension} cut in half", file, whole[: len(whole) // 2], "failed", DAMAGED)
        yield one(f"{extension} cut after 20 bytes", file, whole[:20], "failed", DAMAGED)
        for seed in range(2):
            data = flipped(whole, seed)
            yield one(f"{extension} with flipped bits {seed}", file, data, "failed|no_face", f"|{DAMAGED}")
        overwritten = whole[:12] + b"\xff" * (len(whole) - 12)
        yield one(f"{extension}, nothing but its signature", file, overwritten, "failed", DAMAGED)


def _names() -> Iterator[Case]:
    for file, extension in (("a.jpg", "png"), ("a.tif", "jpg"), ("a.png", "webp"), ("a.txt", "gif"), ("a", "tif")):
        yield one(f"{extension} named {file}", file, picture(extension), "no_face")
    svg = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %s "%s">' % (bytes([n]), b"&%s;" % bytes([n - 1]) * 10) for n in range(98, 108)
    )
    svg += b'] ><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&k;</text></svg>'
    contents = {
        "text": b"This is no picture.\n" * 50,
        "html": b"<!DOCTYPE html><html><script>1</script></html>",
        "svg of entities": svg,
        "pdf": b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n",
        "mvg": b"push graphic-context\nimage over 0,0 0,0 'https://example.org/x.png'\npop graphic-context\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        "elf": b"\x7fELF" + bytes(500),
        "libvips dump": b"\x08\xf2\xa6\xb6" + bytes(500),
        "matlab": b"MATLAB 5.0 MAT-file" + bytes(500),
        "fits": b"SIMPLE  =                    T" + b" " * 3000,
        "nifti": struct.pack("<i", 348) + bytes(500),
        "zeros": bytes(5000),
        "one byte": b"\xff",
        "random bytes": random.Random(3).randbytes(5000),
    }
    for name, data in contents.items():
        yield one(f"{name} named a.jpg", "a.jpg", data, "failed", "not_an_image|unsupported_format")
        yield one(f"{name} named a.dat", "a.dat", data, "skipped|failed", "not_an_image|unsupported_format")
    yield one("an empty file", "a.jpg", b"", "failed", "empty_file")
    foreign = {"psd": b"8BPS" + bytes(50), "exr": b"\x76\x2f\x31\x01" + bytes(50)}
    foreign |= {"ppm": b"P6\n60000 60000\n255\n" + bytes(9)}
    for name, data in foreign.items():
        yield one(f"{name}, which is not decoded", f"a.{name}", data, "failed", "unsupported_format")


def _metadata() -> Iterator[Case]:
    for name, file, data in garbled():
        yield one(name, file, data, "no_face")


def garbled(pixels: Pixels | None = None) -> Iterator[tuple[str, str, bytes]]:
    """(name, file, data) of a photo with hostile metadata and sound pixels."""
    garbage = random.Random(4).randbytes(3000)
    loop = b"Exif\0\0II*\0\x08\0\0\0" + ifd({0x8769: (4, 1, 8), 0x112: (3, 1, 99)}, 8)
    endless = b"Exif\0\0II*\0\x08\0\0\0" + ifd({0x10F: (2, 0xFFFFFFF0, 0xFFFFFFF0), 0x112: (3, 1, 6)})
    entities = b'<?xpacket begin=""?><!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta>&a;</x:xmpmeta>'
    profiles = {
        "garbage": garbage,
        "size that lies": b"\xff" * 4 + bytes(32) + b"acsp" + bytes(200),
        "2^32 tags": bytes(36) + b"acsp" + bytes(88) + b"\xff" * 4 + bytes(100),
        "empty": b"",
        "for CMYK": bytes(12) + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(92),
    }
    for name, profile in profiles.items():
        for extension in ("jpg", "png", "tif", "webp"):
            data = picture(extension, pixels, icc_profile=profile)
            yield f"{extension}, ICC profile: {name}", f"a.{extension}", data
    for name, exif in {"garbage": b"Exif\0\0" + garbage, "a loop": loop, "2^32 bytes": endless}.items():
        for extension in ("jpg", "png", "webp"):
            data = picture(extension, pixels, exif=exif)
            yield f"{extension}, EXIF: {name}", f"a.{extension}", data
    for name, packet in {"garbage": garbage, "entities": entities, "60 kB": b"<" * 60_000}.items():
        segment = b"http://ns.adobe.com/xap/1.0/\0" + packet
        jpeg = picture("jpg", pixels)
        data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
        yield f"jpg, XMP: {name}", "a.jpg", data
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff\x1c\x02"
    jpeg = picture("jpg", pixels)
    data = jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + jpeg[2:]
    yield "jpg, IPTC of 4 GiB", "a.jpg", data
    comments = b"".join(b"\xff\xfe" + struct.pack(">H", 60_002) + b"c" * 60_000 for _ in range(200))
    yield "jpg, 12 MB of comments", "a.jpg", jpeg[:2] + comments + jpeg[2:]
    yield "jpg, data behind its end", "a.jpg", jpeg + garbage


def _tiffs() -> Iterator[Case]:
    sane = tiff()
    yield one("tiff, the plain one", "a.tif", sane, "no_face")
    changes: dict[str, dict[int, tuple[int, int, int]]] = {
        "no width": {256: (4, 1, 0)},
        "strip behind the end": {273: (4, 1, 10**9)},
        "strip of 4 GiB": {279: (4, 1, 0xFFFFFFFF), 278: (4, 1, 0xFFFFFFFF)},
        "2^32 strips": {273: (4, 0xFFFFFFFF, 8), 279: (4, 0xFFFFFFFF, 8)},
        "65535 samples": {277: (3, 1, 65535)},
        "64 bits": {258: (3, 1, 64)},
        "3 bits": {258: (3, 1, 3)},
        "0 bits": {258: (3, 1, 0)},
        "unknown compression": {259: (3, 1, 34676)},
        "JPEG of garbage": {259: (3, 1, 7)},
        "old JPEG of garbage": {259: (3, 1, 6)},
        "deflate of garbage": {259: (3, 1, 8)},
        "LZW of garbage": {259: (3, 1, 5)},
        "fax of garbage": {259: (3, 1, 4), 258: (3, 1, 1)},
        "tiles of no size": {322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 8), 325: (4, 1, 64)},
        "palette behind the end": {262: (3, 1, 3), 320: (3, 768, 10**9)},
        "unknown photometry": {262: (3, 1, 60000)},
        "2^31 rows": {257: (4, 1, 1 << 31)},
        "types nobody knows": {256: (99, 1, 8)},
    }
    for name, changed in changes.items():
        yield one(f"tiff: {name}", "a.tif", tiff(changed), "failed|no_face", f"|{DAMAGED}")
    pages = tiff(following=72)
    yield one("tiff: a directory that follows itself", "a.tif", pages, "failed|no_face", f"|{DAMAGED}|too_many_pages")
    size = len(ifd({256: (4, 1, 8)}))
    head = b"II*\0" + struct.pack("<I", 8)
    many = head + b"".join(ifd({256: (4, 1, 8)}, 8 + (n + 1) * size) for n in range(100_000))
    yield one("tiff of 100,000 pages", "a.tif", many, "failed", f"{DAMAGED}|too_many_pages")
    linked = linked_pages([tiff()[72:]] * 100_000)
    yield one("tiff of 100,000 pages that decode", "a.tif", linked, "failed", "too_many_pages")
    shared = linked_pages([ifd({**SANE, 256: (4, 1, 1 << 14), 257: (4, 1, 1 << 14)})] * 2000)
    yield one("tiff of 2,000 large pages over one strip", "a.tif", shared, "failed", "too_large")
    twice = tiff({256: (4, 1, 8)})[:72] + struct.pack("<H", 10) + struct.pack("<2H2I", 256, 4, 1, HUGE) + tiff()[74:]
    yield one("tiff: two widths", "a.tif", twice, "failed|no_face", f"|{DAMAGED}|too_large")
    backwards = patched(sane, 4, struct.pack("<I", 0xFFFFFFF0))
    yield one("tiff: first directory behind the end", "a.tif", backwards, "failed", DAMAGED)
    big = b"II+\0\x08\0\0\0" + struct.pack("<Q", 1 << 60)
    yield one("BigTIFF that leads nowhere", "a.tif", big, "failed", DAMAGED)


def _pngs() -> Iterator[Case]:
    whole = picture("png")
    bomb = zlib.compress(bytes(200 << 20), 9)
    row = zlib.compress(bytes(8 * (1 + 24)))
    text = b"".join(chunk(b"tEXt", b"key%d\0value" % n) for n in range(50_000))
    damaged = patched(whole, whole.index(b"IDAT") + 20, b"\xff\xff\xff\xff")
    odd = {
        "CRC wrong": patched(whole, 29, b"\0\0\0\0"),
        "pixels damaged": damaged,
        "no pixels": png(8, 8),
        "no size": png(0, 0, chunk(b"IDAT", row)),
        "3 bits": png(8, 8, chunk(b"IDAT", row), depth=3),
        "no palette": png(8, 8, chunk(b"IDAT", row), colour=3),
        "a colour type nobody knows": png(8, 8, chunk(b"IDAT", row), colour=5),
        "ICC bomb of 200 MiB": png(8, 8, chunk(b"iCCP", b"x\0\0" + bomb), chunk(b"IDAT", row)),
        "text bomb of 200 MiB": png(8, 8, chunk(b"zTXt", b"x\0\0" + bomb), chunk(b"IDAT", row)),
        "50,000 texts": png(8, 8, text, chunk(b"IDAT", row)),
        "pixels bomb of 200 MiB": png(8, 8, chunk(b"IDAT", bomb)),
        "a chunk of 2 GiB": whole[:33] + struct.pack(">I", 0x7FFFFFFF) + whole[37:],
    }
    for name, data in odd.items():
        yield one(f"png: {name}", "a.png", data, "failed|no_face", f"|{DAMAGED}")


def _animations() -> Iterator[Case]:
    from PIL import Image

    frames = [Image.fromarray(np.full((8, 8, 3), n % 251, np.uint8)) for n in range(2000)]
    for extension in ("gif", "webp", "png"):
        sink = io.BytesIO()
        count = 2000 if extension != "webp" else 200
        frames[0].save(sink, FORMATS[extension], save_all=True, append_images=frames[1:count])
        yield one(f"{extension} of {count} frames", f"a.{extension}", sink.getvalue(), "no_face")
    gif = picture("gif")
    at = gif.index(b",", 13 + 3 * 256)
    moved = patched(gif, at + 1, struct.pack("<2H", 60_000, 60_000))
    yield one("gif: frame outside its screen", "a.gif", moved, "failed|no_face", f"|{DAMAGED}")
    yield one("gif: no size", "a.gif", patched(gif, 6, bytes(4)), "failed|no_face", f"|{DAMAGED}")
    bmp = picture("bmp")
    odd = {
        "no width": patched(bmp, 18, bytes(4)),
        "negative width": patched(bmp, 18, struct.pack("<i", -64)),
        "least height": patched(bmp, 22, struct.pack("<I", 1 << 31)),
        "no bits": patched(bmp, 28, bytes(2)),
        "pixels behind the end": patched(bmp, 10, struct.pack("<I", 10**9)),
        "run lengths": patched(patched(bmp, 28, b"\x08\0"), 30, b"\1\0\0\0"),
        "2^32 colours": patched(bmp, 46, b"\xff" * 4),
    }
    for name, data in odd.items():
        yield one(f"bmp: {name}", "a.bmp", data, "failed|no_face", f"|{DAMAGED}")
    jpeg = picture("jpg")
    frame = jpeg.index(b"\xff\xc0")
    yield one("jpg: no height", "a.jpg", patched(jpeg, frame + 5, bytes(2)), "failed", DAMAGED)
    yield one("jpg: 255 components", "a.jpg", patched(jpeg, frame + 9, b"\xff"), "failed", DAMAGED)
    yield one("jpg: no tables", "a.jpg", jpeg.replace(b"\xff\xdb", b"\xff\xee"), "failed|no_face", f"|{DAMAGED}")


GROUPS = {
    "images, bombs": _bombs,
    "images, damaged": _damaged,
    "images, names": _names,
    "images, metadata": _metadata,
    "images, tiffs": _tiffs,
    "images, pngs": _pngs,
    "images, animations": _animations,
}
