"""What a photo's file says besides its pixels, taken from one format in a form that any other can carry."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from fractions import Fraction

import pyvips

from pipeline.photos import tiff
from pipeline.photos.container import APP0, COMMENT, jpeg_segments, png_chunks
from pipeline.photos.tiff import EXIF, GPS, IPTC, LONG, RATIONAL, SHORT, Field, Fields, Tiff

X_RESOLUTION, Y_RESOLUTION, UNIT = 282, 283, 296
INCH = 2.54  # cm
WIDTHS, HEIGHTS = (256, 40962), (257, 40963)  # ImageWidth and PixelXDimension, ImageLength and PixelYDimension
THUMBNAILS = ((513, 514), (273, 279))  # where a second directory's picture is, as JPEG and as strips
# TIFF's own fields (section 8 and private ones) that say something of the picture and not of how its file is built.
DESCRIPTIVE = (269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 33432, *range(40091, 40096), EXIF, GPS)
IIM = 1028  # the image resource with IPTC's record (Photoshop File Formats, Image Resource IDs)

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
PNG_XMP = b"XML:com.adobe.xmp\0"
ELSEWHERE = (PNG_XMP, b"Raw profile type ")  # texts that are XMP, IPTC and so on
PNG_IPTC = b"Raw profile type iptc\0"  # where ImageMagick and ExifTool keep it, as text


@dataclass(frozen=True)
class Metadata:
    """exif: the block as it stands in the file, from its byte order mark on; of a TIFF its descriptive fields as such a
    block. xmp: the packet. iptc: the IIM record. dpi: across and down. notes: PNG chunks, or JPEG comments, by type,
    for a file of the same format.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[tuple[bytes, bytes], ...] = field(default=())


def of_image(data: bytes, image: pyvips.Image, format: str) -> Metadata:
    """The metadata of a file that libvips opened. What is garbage is left out."""
    if format == "tiff":
        return _of_tiff(data, _blob(image, "xmp-data"))
    exif = exif_block(_blob(image, "exif-data"))
    common = Metadata(exif, _blob(image, "xmp-data"), None, dpi_of(fields_of(exif)))
    if format == "jpeg":
        segments = list(jpeg_segments(data))
        comments = tuple((b"COM", body) for marker, body in segments if marker == COMMENT)
        iptc = _resource(_blob(image, "iptc-data") or b"")
        return Metadata(exif, common.xmp, iptc, _jfif(segments) or common.dpi, comments)
    if format == "png":
        return _of_png(data, common)
    return common


def exif_block(data: bytes | None) -> bytes | None:
    """An EXIF block from its byte order mark on; None where there is none that can be read."""
    start = 6 if data and data.startswith(b"Exif\0\0") else 0
    try:
        block = (data or b"")[start:]
        Tiff(block).read(Tiff(block).chain(1)[0])
        return block
    except (ValueError, IndexError):
        return None


def fields_of(block: bytes | None) -> Fields:
    """The first directory of a block that `exif_block` gave."""
    if block is None:
        return {}
    source = Tiff(block)
    return source.read(source.chain(1)[0])


def block_of(fields: Fields) -> bytes | None:
    return b"II*\0\x08\0\0\0" + tiff.written(fields, 8) if fields else None


def descriptive(fields: Fields) -> Fields:
    return {tag: one for tag, one in fields.items() if tag in DESCRIPTIVE}


def resolution_fields(dpi: tuple[float, float]) -> Fields:
    across, down = (Fraction(one).limit_denominator(10_000) for one in dpi)
    return {
        X_RESOLUTION: Field(RATIONAL, 1, struct.pack("<II", across.numerator, across.denominator)),
        Y_RESOLUTION: Field(RATIONAL, 1, struct.pack("<II", down.numerator, down.denominator)),
        UNIT: Field(SHORT, 1, struct.pack("<H", 2)),
    }


def upright(block: bytes, width: int, height: int) -> bytes:
    """An EXIF block for an upright picture of this size, without its thumbnail, which shows the old faces.

    Changed in place: a maker's notes hold offsets, and stay where they were.
    """
    out = bytearray(block)
    source = Tiff(out)
    first = source.chain(1)[0]
    wanted = {tiff.ORIENTATION: 1} | dict.fromkeys(WIDTHS, width) | dict.fromkeys(HEIGHTS, height)
    for entry in [*source.entries(first), *_exif_entries(source, first)]:
        there = entry.count == 1 and entry.place + entry.size <= len(out)
        if entry.tag in wanted and there and entry.kind in (SHORT, LONG):
            word, most = ("H", 0xFFFF) if entry.kind == SHORT else ("I", 0xFFFFFFFF)
            struct.pack_into(source.order + word, out, entry.place, min(wanted[entry.tag], most))
    _cut_thumbnail(source, out, source.following(first))
    return bytes(out)


def _exif_entries(source: Tiff, first: int) -> list[tiff.Entry]:
    """The entries of the EXIF directory proper."""
    try:
        pointer = next(entry for entry in source.entries(first) if entry.tag == EXIF)
        return list(source.entries(struct.unpack_from(source.order + "I", source.data, pointer.place)[0]))
    except (StopIteration, ValueError, struct.error):
        return []


def _cut_thumbnail(source: Tiff, out: bytearray, link: int) -> None:
    """Unlink the directory that the offset at `link` names, and blank the picture it describes."""
    try:
        second = source.offset(link)
        fields = source.read(second) if second else {}
    except ValueError:
        return
    for place, size in THUMBNAILS:
        if place in fields and size in fields:
            for start, count in zip(fields[place].numbers(), fields[size].numbers(), strict=False):
                # Behind its directory, as writers put it: a forged one cannot blank what comes before.
                if second < start <= start + count <= len(out):
                    out[start : start + count] = bytes(count)
    struct.pack_into(source.order + "I", out, link, 0)


def _of_tiff(data: bytes, xmp: bytes | None) -> Metadata:
    source = Tiff(data)
    fields = source.read(source.chain(1)[0])
    iptc = fields[IPTC].value if IPTC in fields else None
    if iptc is None and 34377 in fields:  # Photoshop's image resources
        iptc = _resource(fields[34377].value)
    return Metadata(block_of(descriptive(fields)), xmp, iptc, dpi_of(fields))


def _of_png(data: bytes, common: Metadata) -> Metadata:
    dpi, iptc = common.dpi, None
    notes: list[tuple[bytes, bytes]] = []
    for name, body in png_chunks(data):
        if name == b"pHYs" and len(body) == 9 and body[8] == 1:  # per metre
            across, down = struct.unpack_from(">II", body)
            dpi = (whole_dpi(across), whole_dpi(down)) if across and down else dpi
        elif name == b"zTXt" and body.startswith(PNG_IPTC):
            iptc = from_raw_profile(_inflated(body[len(PNG_IPTC) + 1 :]))
        elif name in COLOUR_CHUNKS or (name in TEXTS and not body.startswith(ELSEWHERE)):
            notes.append((name, body))
    return Metadata(common.exif, common.xmp, iptc, dpi, tuple(notes))


def _inflated(data: bytes, limit: int = 1 << 20) -> bytes:
    """What a text chunk holds, at most `limit` bytes of it; nothing where it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return b""


def whole_dpi(per_metre: float) -> float:
    """Pixels per inch. Counted in whole pixels per metre 300 dpi are 11811, which would read as 299.9994."""
    dpi = per_metre * INCH / 100
    return float(round(dpi)) if abs(dpi - round(dpi)) < INCH / 200 else dpi


def _jfif(segments: list[tuple[int, bytes]]) -> tuple[float, float] | None:
    head = next((body for marker, body in segments if marker == APP0 and body[:5] == b"JFIF\0"), b"")
    if len(head) < 12 or head[7] not in (1, 2):  # per inch, per centimetre
        return None
    across, down = struct.unpack_from(">HH", head, 8)
    scale = 1.0 if head[7] == 1 else INCH
    return (across * scale, down * scale) if across and down else None


def dpi_of(fields: Fields) -> tuple[float, float] | None:
    if X_RESOLUTION not in fields or Y_RESOLUTION not in fields:
        return None
    unit = fields[UNIT].numbers()[:1] if UNIT in fields else (2,)
    across, down = _rational(fields[X_RESOLUTION]), _rational(fields[Y_RESOLUTION])
    if not across or not down or unit not in ((2,), (3,)):
        return None
    scale = 1.0 if unit == (2,) else INCH
    return across * scale, down * scale


def _rational(one: Field) -> float:
    if one.kind != RATIONAL or one.count < 1:
        return 0.0
    numerator, denominator = struct.unpack_from("<II", one.value)
    return numerator / denominator if denominator else 0.0


def _resource(data: bytes) -> bytes | None:
    """IPTC's record among Photoshop's image resources (Photoshop File Formats, Image Resource Blocks)."""
    place = len(b"Photoshop 3.0\0") if data.startswith(b"Photoshop 3.0\0") else 0
    while data[place : place + 4] == b"8BIM" and place + 12 <= len(data):
        number = int.from_bytes(data[place + 4 : place + 6], "big")
        place += 6 + (data[place + 6] + 2) // 2 * 2  # a name, its length first, padded to even
        size = int.from_bytes(data[place : place + 4], "big")
        if number == IIM:
            return data[place + 4 : place + 4 + size]
        place += 4 + size + size % 2
    return None


def photoshop(iptc: bytes) -> bytes:
    """The record as the one image resource of a JPEG's APP13 segment."""
    padded = iptc + bytes(len(iptc) % 2)
    return b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", IIM, 0, len(iptc)) + padded


def raw_profile(iptc: bytes) -> bytes:
    """The record as text, in PNG_IPTC: lines with name and length, then hexadecimal digits."""
    record = photoshop(iptc)[len(b"Photoshop 3.0\0") :]
    digits = record.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return "\n".join(["", "iptc", f"{len(record):8d}", *lines, ""]).encode()


def from_raw_profile(text: bytes) -> bytes | None:
    try:
        return _resource(bytes.fromhex("".join(text.decode("ascii").split()[2:])))
    except ValueError:
        return None


def without_colour(notes: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """For pixels that were converted to sRGB."""
    return tuple(note for note in notes if note[0] not in COLOUR_CHUNKS)


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    return bytes(image.get(name)) if image.get_typeof(name) else None


def orientation(block: bytes | None) -> int:
    """As an EXIF block says, 1 to 8."""
    found = fields_of(block).get(tiff.ORIENTATION)
    turn = found.numbers()[0] if found and found.numbers() else 1
    return turn if turn in range(1, 9) else 1
