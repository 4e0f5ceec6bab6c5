"""A photo's metadata, in a form that can be written to any format."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from pipeline.photos import tiff
from pipeline.photos.tiff import DOUBLE, EXIF, FLOAT, GPS, LONG, RATIONAL, SHORT, SRATIONAL, Field, Fields, Tiff

X_RESOLUTION, Y_RESOLUTION, UNIT = 282, 283, 296
INCH = 2.54  # cm
WIDTHS, HEIGHTS = (256, 40962), (257, 40963)  # ImageWidth and PixelXDimension, ImageLength and PixelYDimension
THUMBNAILS = ((513, 514), (273, 279))  # fields that locate a second directory's picture, as JPEG and as strips
# TIFF's own fields (section 8 and private ones) about the picture, not about the structure of its file.
COLOUR_FIELDS = (301, 318, 319)  # transfer function, white point and primaries of the pixels
RATINGS = (18246, 18249)
OWNERS = (42032, 42033, 65000, 65001)  # of the camera and its serial number, by EXIF and by Photoshop
DESCRIPTIVE = (
    *(269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 33432, *range(40091, 40096), EXIF, GPS),
    *(*COLOUR_FIELDS, *RATINGS, *OWNERS),
)
LEAST_DPI, MOST_DPI = 0.01, 1e6  # others are nonsense: maps have more than the least, microscopes less than the most

COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")


@dataclass(frozen=True)
class Metadata:
    """exif: the block as in the file, from its byte order mark on; for a TIFF, its descriptive fields as such a block.
    xmp: the packet; extended_xmp: its second part in a JPEG. iptc: the IIM record. resources: Photoshop's other image
    resources about the picture. dpi: across and down. notes: PNG chunks or JPEG comments, by type, for a file of the
    same format. left_out: names of metadata that is not carried over.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[tuple[bytes, bytes], ...] = ()
    extended_xmp: bytes | None = None
    resources: bytes | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Leaves out an impossible resolution, from whichever field of whichever format: a writer would fail."""
        if self.dpi and not plausible(self.dpi):
            words = f"a resolution of {self.dpi[0]:.4g} x {self.dpi[1]:.4g} dpi, which cannot be"
            object.__setattr__(self, "dpi", None)
            object.__setattr__(self, "left_out", (*self.left_out, words))


def plausible(dpi: tuple[float, float]) -> bool:
    return all(LEAST_DPI <= one <= MOST_DPI for one in dpi)


def exif_block(data: bytes | None) -> bytes | None:
    """An EXIF block from its byte order mark on; None if there is no readable one."""
    start = 6 if data and data.startswith(b"Exif\0\0") else 0
    try:
        block = (data or b"")[start:]
        Tiff(block).read(Tiff(block).chain(1)[0])
        return block
    except (ValueError, IndexError):
        return None


def fields_of(block: bytes | None) -> Fields:
    """The first directory of a block from `exif_block`."""
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


def without_nonsense(block: bytes | None) -> bytes | None:
    """An EXIF block without an impossible resolution."""
    dpi = dpi_of(fields_of(block))
    return block if dpi is None or plausible(dpi) else without_fields(block, (X_RESOLUTION, Y_RESOLUTION, UNIT))


def without_fields(block: bytes | None, tags: tuple[int, ...]) -> bytes | None:
    """The block without these fields: rebuilt if it has one of them, else unchanged."""
    fields = fields_of(block)
    return block if fields.keys().isdisjoint(tags) else block_of({n: one for n, one in fields.items() if n not in tags})


def upright(block: bytes, width: int, height: int) -> bytes:
    """An EXIF block for an upright picture of this size, without its thumbnail, which shows the old faces.

    The block is changed in place: a maker's notes hold offsets, so nothing may move.
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
    """The entries of the EXIF sub-directory."""
    try:
        pointer = next(entry for entry in source.entries(first) if entry.tag == EXIF)
        return list(source.entries(struct.unpack_from(source.order + "I", source.data, pointer.place)[0]))
    except (StopIteration, ValueError, struct.error):
        return []


def _cut_thumbnail(source: Tiff, out: bytearray, link: int) -> None:
    """Unlink the directory at the offset stored at `link`, and blank the picture that it describes."""
    try:
        second = source.offset(link)
        fields = source.read(second) if second else {}
    except ValueError:
        return
    for place, size in THUMBNAILS:
        if place in fields and size in fields:
            for start, count in zip(fields[place].numbers(), fields[size].numbers(), strict=False):
                # Blank only data after the directory, where writers put it: a forged one cannot blank earlier data.
                if second < start <= start + count <= len(out):
                    out[start : start + count] = bytes(count)
    struct.pack_into(source.order + "I", out, link, 0)


def whole_dpi(per_metre: float) -> float:
    """Pixels per inch, rounded: in whole pixels per metre, 300 dpi are 11811, which would read as 299.9994."""
    dpi = per_metre * INCH / 100
    return float(round(dpi)) if abs(dpi - round(dpi)) < INCH / 200 else dpi


def dpi_of(fields: Fields) -> tuple[float, float] | None:
    if X_RESOLUTION not in fields or Y_RESOLUTION not in fields:
        return None
    unit = fields[UNIT].numbers()[:1] if UNIT in fields else (2,)
    across, down = _number(fields[X_RESOLUTION]), _number(fields[Y_RESOLUTION])
    if not across or not down or unit not in ((2,), (3,)):
        return None
    scale = 1.0 if unit == (2,) else INCH
    return across * scale, down * scale


def _number(one: Field) -> float:
    """The first value of a field; 0 if it is not a valid resolution."""
    if one.count < 1:
        return 0.0
    if one.kind in (RATIONAL, SRATIONAL):
        numerator, denominator = struct.unpack_from("<II" if one.kind == RATIONAL else "<ii", one.value)
        return max(0.0, numerator / denominator) if denominator else 0.0
    if one.kind in (FLOAT, DOUBLE):
        value = struct.unpack_from("<f" if one.kind == FLOAT else "<d", one.value)[0]
        return float(value) if value > 0 else 0.0  # not a NaN
    return float(one.numbers()[0]) if one.numbers() else 0.0


def without_colour(notes: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """The block for pixels that were converted to sRGB."""
    return tuple(note for note in notes if note[0] not in COLOUR_CHUNKS)


def orientation(block: bytes | None) -> int:
    """The orientation in an EXIF block, 1 to 8."""
    found = fields_of(block).get(tiff.ORIENTATION)
    turn = found.numbers()[0] if found and found.numbers() else 1
    return turn if turn in range(1, 9) else 1
