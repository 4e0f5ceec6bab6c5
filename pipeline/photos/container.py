"""Metadata in the segments of a JPEG and the chunks of PNG and WebP files, byte for byte.

libvips only writes the pixels. It would rewrite EXIF blocks with libexif, which drops unknown fields and adds others,
and it gives every file a resolution.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from hashlib import md5

Chunk = tuple[bytes, bytes]

PNG_MARK = b"\x89PNG\r\n\x1a\n"
SEGMENT = 65533  # most bytes in a JPEG segment
ICC_MARK, EXIF_MARK, XMP_MARK = b"ICC_PROFILE\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# The second part of a packet (XMP part 3, section 1.1.3.1): digest, length and place, then the bytes.
EXTENSION_MARK = b"http://ns.adobe.com/xmp/extension/\0"
EXTENDED_PART = 65_400  # bytes of it in one segment, as Adobe's toolkit writes them
ICC_PART = SEGMENT - len(ICC_MARK) - 2  # ICC.1:2022, annex B.4: parts are numbered
APP0, APP1, APP2, APP13, COMMENT, SCAN = 0xE0, 0xE1, 0xE2, 0xED, 0xFE, 0xDA
# VP8X flags (WebP Container Specification, Extended File Format)
WEBP_ICC, WEBP_ALPHA, WEBP_EXIF, WEBP_XMP = 0x20, 0x10, 0x08, 0x04


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan."""
    return ((marker, data[place + 4 : end]) for marker, place, end in _jpeg_places(data) if marker != SCAN)


def jpeg_scan(data: bytes) -> int:
    """Where the first scan begins; the end of the data if there is none. A thumbnail's scan does not count."""
    return next((place for marker, place, _ in _jpeg_places(data) if marker == SCAN), len(data))


def _jpeg_places(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, beginning and end of each segment up to the first scan."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker, size = struct.unpack_from(">BH", data, place + 1)
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if size < 2:
            return
        yield marker, place, place + 2 + size
        if marker == SCAN:
            return
        place += 2 + size


def into_jpeg(data: bytes, segments: Iterable[tuple[int, bytes]]) -> bytes:
    """A JPEG with these segments first. Raises ValueError if one is too long."""
    parts = [data[:2]]
    for marker, body in segments:
        if len(body) > SEGMENT:
            raise ValueError(f"jpeg holds {SEGMENT} bytes of one kind of metadata, this photo has {len(body)}")
        parts += [struct.pack(">BBH", 0xFF, marker, len(body) + 2), body]
    return b"".join([*parts, data[2:]])


def fits_jpeg(profile: bytes | None) -> bool:
    """Whether a profile fits into a JPEG: at most 255 segments, because one byte numbers them (ICC.1:2022, B.4)."""
    return len(profile or b"") <= 255 * ICC_PART


def icc_segments(profile: bytes) -> list[tuple[int, bytes]]:
    parts = [profile[start : start + ICC_PART] for start in range(0, len(profile), ICC_PART)]
    return [(APP2, ICC_MARK + bytes((number, len(parts))) + part) for number, part in enumerate(parts, 1)]


def extension_segments(packet: bytes) -> list[tuple[int, bytes]]:
    """The segments of the second part of an XMP packet; none for an empty part."""
    digest = md5(packet, usedforsecurity=False).hexdigest().upper().encode()
    return [
        (APP1, EXTENSION_MARK + digest + struct.pack(">II", len(packet), start) + packet[start : start + EXTENDED_PART])
        for start in range(0, len(packet), EXTENDED_PART)
    ]


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """Type and content of each chunk without pixels."""
    place = len(PNG_MARK)
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8]
        if name not in (b"IDAT", b"fdAT"):
            yield name, data[place + 8 : place + 8 + size]
        place += 12 + size


def into_png(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """A PNG with these chunks after its header, which replace its resolution."""
    start = len(PNG_MARK) + 25  # IHDR has 13 bytes
    resolution = data.find(b"pHYs", start, data.find(b"IDAT"))
    rest = data[start:] if resolution < 0 else data[start : resolution - 4] + data[resolution + 17 :]
    parts = [struct.pack(">I", len(body)) + name + body + _crc(name + body) for name, body in chunks]
    return b"".join([data[:start], *parts, rest])


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def riff_chunks(data: bytes) -> Iterator[Chunk]:
    """Type and content of each chunk of a WebP file, and of those inside an animation's frames."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"ANMF":
            place += 24  # its header; then come the frame's own chunks
            continue
        yield name, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def into_webp(
    data: bytes, size: tuple[int, int], alpha: bool, profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> bytes:
    """A WebP file of one picture in the extended format, with each argument that is not None."""
    flags = WEBP_ALPHA * alpha + WEBP_ICC * bool(profile) + WEBP_EXIF * bool(exif) + WEBP_XMP * bool(xmp)
    width, height = (side - 1 for side in size)
    header = struct.pack("<I", flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    pixels = [chunk for chunk in riff_chunks(data) if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")]
    chunks = [(b"VP8X", header), (b"ICCP", profile), *pixels, (b"EXIF", exif), (b"XMP ", xmp)]
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
        if content
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
