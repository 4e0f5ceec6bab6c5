"""The full-size preview in a camera's raw file: a finished JPEG by the camera, for `--raw preview`.

Makers keep it in many places (a directory's strip, a tag, a box, a header of their own), so it is found by what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from pipeline.photos import jpeg, tiff
from pipeline.photos.container import APP1, EXIF_MARK, XMP_MARK, into_jpeg, jpeg_segments
from pipeline.photos.diagnosis import is_raw
from pipeline.photos.errors import PhotoError
from pipeline.photos.metadata import block_of, descriptive
from pipeline.photos.read_metadata import XMP
from pipeline.photos.tiff import ORIENTATION, Fields, Tiff
from pipeline.photos.tiff_pages import LENGTH, SUBDIRECTORIES, WIDTH
from pipeline.photos.warning import PhotoWarning

_FRAMES = (0xC0, 0xC1, 0xC2)  # of pictures; raw data are lossless JPEG, C3
_HEADER = 1 << 20  # bytes in which a preview's frame begins: EXIF, a profile and a thumbnail come before it
_MOST = 64  # beginnings of a JPEG that are looked at: a raw file has three or four previews
_FULL = 0.9  # of the long side that the file says it has: sensors have a border that previews lack
_SMALLEST = 1_000_000  # px, where a file does not say its size
_MAKER_NOTE = 37500  # offsets in it are those of the raw file, and it may be longer than a segment
_LONGEST = 65_000  # bytes of an EXIF block in a segment


def preview(data: bytes) -> tuple[bytes, PhotoWarning] | None:
    """The preview as a JPEG file with the raw file's metadata, and what to say of it; None for other files.

    Raises PhotoError where the file has no preview as large as its picture.
    """
    if not is_raw(data):
        return None
    width, height, start = max(_previews(data), key=lambda found: found[0] * found[1], default=(0, 0, 0))
    full = max(_sides(data), default=0)
    if max(width, height) < _FULL * full or width * height < (1 if full else _SMALLEST):
        there = f"its largest preview has {width} x {height} px" if width else "it has no preview"
        words = f"a camera's raw file, and {there}: develop it, to TIFF or PNG"
        raise PhotoError("unsupported_format", words)
    picture = data[start:]
    picture = picture[: jpeg.scan_end(picture) + len(jpeg.END)]
    words = f"restored from the camera's preview of {width} x {height} px, not from the raw data"
    return _with_metadata(picture, data), PhotoWarning("raw_preview", words)


def _previews(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Width, height and place of each picture in JPEG."""
    for start in islice(_starts(data), _MOST):
        for marker, body in jpeg_segments(data[start : start + _HEADER]):
            if marker in _FRAMES and len(body) > 5 and body[0] == 8:
                height, width = struct.unpack_from(">HH", body, 1)
                yield width, height, start


def _starts(data: bytes) -> Iterator[int]:
    place = data.find(jpeg.START)
    while place >= 0:
        yield place
        place = data.find(jpeg.START, place + 1)


def _sides(data: bytes) -> Iterator[int]:
    """The long side of each picture that the directories of a TIFF name; nothing for other files."""
    for fields in _directories(data):
        sides = [sum(fields[tag].numbers()[:1]) for tag in (WIDTH, LENGTH) if tag in fields]
        yield max(sides, default=0)


def _directories(data: bytes) -> Iterator[Fields]:
    try:
        source = _tiff(data)
        for offset in source.chain(_MOST):
            fields = source.read(offset)
            yield fields
            inner = fields[SUBDIRECTORIES].numbers() if SUBDIRECTORIES in fields else ()
            yield from (source.read(place, (WIDTH, LENGTH)) for place in inner[:_MOST])
    except (ValueError, IndexError):
        return


def _tiff(data: bytes) -> Tiff:
    """The TIFF that a raw file is; Olympus and Panasonic put letters in the place of its number."""
    return Tiff(b"II*\0" + data[4:] if data.startswith((b"IIRO", b"IIRS", b"IIU\0")) else data)


def _with_metadata(picture: bytes, data: bytes) -> bytes:
    """The preview with the raw file's EXIF, orientation and XMP, where it has none of its own."""
    own = [body for marker, body in jpeg_segments(picture) if marker == APP1]
    fields = next(_directories(data), {})
    wanted = descriptive(fields) | {tag: one for tag, one in fields.items() if tag == ORIENTATION}
    block = block_of(_without_note(wanted)) or b""
    segments = []
    if block and len(block) <= _LONGEST and not any(body.startswith(EXIF_MARK) for body in own):
        segments.append((APP1, EXIF_MARK + block))
    if XMP in fields and len(fields[XMP].value) <= _LONGEST and not any(body.startswith(XMP_MARK) for body in own):
        segments.append((APP1, XMP_MARK + fields[XMP].value))
    return into_jpeg(picture, segments)


def _without_note(fields: Fields) -> Fields:
    inner = fields[tiff.EXIF].inner if tiff.EXIF in fields else None
    if not inner:
        return fields
    kept = {tag: one for tag, one in inner.items() if tag != _MAKER_NOTE}
    return {**fields, tiff.EXIF: tiff.Field(tiff.LONG, 1, b"", kept)}
