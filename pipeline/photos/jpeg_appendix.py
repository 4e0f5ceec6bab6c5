"""Data after the picture of a JPEG: further pictures (CIPA DC-007, Multi-Picture Format), a phone's video."""

from __future__ import annotations

import struct

from pipeline.photos.container import APP2, jpeg_segments
from pipeline.photos.jpeg import scan_end
from pipeline.photos.tiff import Tiff
from pipeline.photos.warning import PhotoWarning

MARK = b"MPF\0"
ENTRIES, ENTRY_BYTES = 0xB002, 16
# Types of pictures (DC-007, 5.2.3.3.1) that are only smaller copies of the first.
PREVIEWS = (0x010001, 0x010002)
TYPES = {0x020001: "a part of a panorama", 0x020002: "a stereo partner", 0x020003: "another angle"}
PADDING = 64  # this many bytes after the end count as padding


def appendix(data: bytes) -> list[PhotoWarning]:
    """Warnings about data after the first picture of a JPEG."""
    kinds = _pictures(data)
    if kinds:
        named = sorted({TYPES.get(kind, "of unknown kind") for kind in kinds})
        words = f"{len(kinds)} further picture{'s' * (len(kinds) > 1)} in the file ({', '.join(named)}) not restored"
        return [PhotoWarning("more_pictures", words)]
    rest = data[scan_end(data) + 2 :].rstrip(b"\0")
    if MARK in data[: len(data) - len(rest)] or len(rest) <= PADDING:
        return []
    what = " (a video)" if b"ftyp" in rest[:32] else ""
    return [PhotoWarning("not_carried", f"not carried over: {len(rest)} bytes{what} after the end of the picture")]


def _pictures(data: bytes) -> list[int]:
    """The types of the pictures after the first, without previews."""
    body = next((body for marker, body in jpeg_segments(data) if marker == APP2 and body.startswith(MARK)), b"")
    try:
        source = Tiff(body[len(MARK) :])
        entries = source.read(source.chain(1)[0], (ENTRIES,))[ENTRIES].value
    except (ValueError, LookupError):
        return []
    count = len(entries) // ENTRY_BYTES
    kinds = [struct.unpack_from(source.order + "I", entries, n * ENTRY_BYTES)[0] & 0xFFFFFF for n in range(1, count)]
    return [kind for kind in kinds if kind not in PREVIEWS]
