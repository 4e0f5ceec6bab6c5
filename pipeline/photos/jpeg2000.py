"""JPEG 2000 (ISO/IEC 15444-1), which libvips' wheel leaves out: read the boxes; OpenJPEG decodes the pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.photos.errors import PhotoError
from pipeline.photos.metadata import Metadata, dpi_of, exif_block, fields_of, whole_dpi
from pipeline.photos.tiff_pages import ASSOCIATED, UNASSOCIATED, UNSPECIFIED

SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, annex A
END = b"\xff\xd9"
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
EXIF = b"JpgTiffExif->JP2"
IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
# The colr box's enumerated spaces that decode to grey or sRGB: 16 sRGB, 17 grey, 18 YCC (annex I.5.3.3).
SPACES = (16, 17, 18)
ANY_ICC = (2, 3)  # methods of the colr box with a profile
# A channel's meaning in the cdef box (annex I.5.3.6), as a TIFF value.
KINDS = {1: UNASSOCIATED, 2: ASSOCIATED}
FILE_TYPE = b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "  # annex I.5.2
CHANNELS = (b"ihdr", b"bpcc", b"colr", b"cdef")  # boxes that a codec needs besides the codestream
# Boxes that describe the structure of the file.
BUILD = (b"jP  ", b"ftyp", b"ihdr", b"bpcc", b"colr", b"cdef", b"pclr", b"cmap", b"resc", b"resd", b"jp2c", b"free")


@dataclass
class Header:
    """width, height: px. channels: 1 to 4. bits: of each channel. extra: the meaning of the channels after the colours,
    as in tiff_pages."""

    width: int
    height: int
    channels: int
    bits: int
    profile: bytes | None
    metadata: Metadata
    extra: tuple[int, ...] = ()


def is_jpeg2000(data: bytes) -> bool:
    return data.startswith((SIGNATURE, CODESTREAM))


def header(data: bytes) -> Header:
    """Everything except the pixels. Raises PhotoError; ValueError for a broken file."""
    profile, found, dpi = None, {}, None
    kinds: dict[int, int] = {}
    strange = set()
    for name, body in boxes(data) if not data.startswith(CODESTREAM) else ():
        if name == b"colr" and body[:1] and body[0] in ANY_ICC:
            profile = bytes(body[3:])
        elif name == b"colr" and body[:1] == b"\1" and int.from_bytes(body[3:7], "big") not in SPACES:
            raise _unsupported("in this colour space")
        elif name == b"pclr":
            raise _unsupported("with a palette")
        elif name in (b"resc", b"resd"):
            dpi = _resolution(body) or dpi
        elif name == b"cdef":
            entries = struct.iter_unpack(">3H", body[2 : 2 + (len(body) - 2) // 6 * 6])
            kinds = {channel: kind for channel, kind, _ in entries}
        elif name == b"uuid":
            found[bytes(body[:16])] = bytes(body[16:])
        elif name not in BUILD:
            strange.add(f"box {name.decode('latin-1').strip()!r}")
    stream = codestream(data)
    width, height, channels, bits = _size(stream)
    if profile and profile[16:20] == b"CMYK":
        raise _unsupported("in CMYK")
    if END not in stream[-64:]:
        words = f"the JPEG 2000 file is cut off or damaged: its end is missing after {len(data):,} bytes"
        raise PhotoError("truncated", words)
    exif = exif_block(found.get(EXIF))
    strange |= {f"box 'uuid' {uuid.hex()}" for uuid in found.keys() - {EXIF, XMP, IPTC}}
    dpi = dpi or dpi_of(fields_of(exif))
    metadata = Metadata(exif, found.get(XMP), found.get(IPTC), dpi, left_out=tuple(sorted(strange)))
    extra = tuple(KINDS.get(kinds.get(n, 0), UNSPECIFIED) for n in range(1 if channels < 3 else 3, channels))
    return Header(width, height, channels, bits, profile, metadata, extra)


def pixels(data: bytes, known: Header) -> npt.NDArray[Any]:
    """(H, W, channels) uint8, or uint16 of known.bits: grey or RGB, then other channels. Raises ValueError."""
    from imagecodecs import jpeg2k_decode

    try:
        read = np.asarray(jpeg2k_decode(alone(data))).reshape(known.height, known.width, known.channels)
    except (RuntimeError, ValueError) as error:
        raise ValueError("the content is damaged") from error
    return np.ascontiguousarray(read)


def alone(data: bytes) -> bytes:
    """The file with only its first codestream, whose size was checked, and the boxes that describe its channels.

    A codec may take another of several codestreams, and that one may be larger.
    """
    if data.startswith(CODESTREAM):
        return data
    inner = b"".join(_box(name, body) for name, body in boxes(data) if name in CHANNELS)
    return SIGNATURE + FILE_TYPE + _box(b"jp2h", inner) + _box(b"jp2c", codestream(data))


def codestream(data: bytes) -> bytes:
    """The first codestream of a file; empty if there is none."""
    if data.startswith(CODESTREAM):
        return data
    return next((body for name, body in boxes(data, inside=()) if name == b"jp2c"), b"")


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def boxes(data: bytes, inside: tuple[bytes, ...] = (b"jp2h", b"res ")) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box (annex I.4), also of those inside jp2h and res."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if size == 1 and place + 16 <= len(data):
            size, start = struct.unpack_from(">Q", data, place + 8)[0], place + 16
        end = place + size if size else len(data)  # 0: to the end of the file
        if end < start:
            raise ValueError("a box is shorter than its header")
        if name in inside:
            others = tuple(one for one in inside if one != name)  # no box contains one of its own type
            yield from boxes(data[start:end], others)
        else:
            yield name, data[start:end]
        place = end


def boxes_end(data: bytes) -> int:
    """Where the last box ends; beyond the last byte if the file is cut off. AVIF consists of the same boxes."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if 0 < size < 8 or place + 8 > len(data):
            return len(data) + 1
        place += size or len(data) - place
    return place


def _size(stream: bytes) -> tuple[int, int, int, int]:
    """Width, height, channels and bits from the SIZ marker segment (annex A.5.1), which give the cost of decoding."""
    if not stream.startswith(CODESTREAM) or len(stream) < 43:
        raise ValueError("it has no picture")
    right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    channels = int.from_bytes(stream[40:42], "big")
    bits = {one & 127 for one in stream[42 : 42 + 3 * min(channels, 4) : 3]}
    signed = any(one & 128 for one in stream[42 : 42 + 3 * min(channels, 4) : 3])
    if channels not in (1, 2, 3, 4) or len(bits) != 1 or signed or not 7 <= max(bits) <= 15:
        kind = (
            f"with {channels} channels of {' or '.join(str(one + 1) for one in sorted(bits))} {'signed ' * signed}bits"
        )
        raise _unsupported(kind)
    return right - left, bottom - top, channels, bits.pop() + 1


def _unsupported(kind: str) -> PhotoError:
    return PhotoError("unsupported_format", f"JPEG 2000 files {kind} are not decoded: convert the file to TIFF or PNG")


def _resolution(body: bytes) -> tuple[float, float] | None:
    """Pixels per metre from a resolution box (annex I.5.3.7), which has down before across."""
    if len(body) < 10:
        return None
    down, down_by, across, across_by, down_ten, across_ten = struct.unpack_from(">HHHHbb", body)
    if not (down and down_by and across and across_by):
        return None
    return whole_dpi(across / across_by * 10.0**across_ten), whole_dpi(down / down_by * 10.0**down_ten)
