"""Photoshop's image resources in JPEG, TIFF and PNG files (Photoshop File Formats, Image Resource Blocks)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MARK = b"Photoshop 3.0\0"  # before them in a JPEG's segment
IIM = 1028  # IPTC's record
# Kept: copyright flag, address, digest of the IPTC record, and, from 2000, saved paths and the clipping path. Others
# describe how Photoshop last showed the file, or are pictures of the old faces.
COPYRIGHT, ADDRESS, DIGEST = 1034, 1035, 1061
PATHS = range(2000, 3000)
SEGMENT = 65000  # bytes of one JPEG segment, with room for its head


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each resource, up to one that is cut off."""
    place = len(MARK) if data.startswith(MARK) else 0
    while True:
        if data[place : place + 4] != b"8BIM" and data[place - 1 : place + 3] == b"8BIM":
            place -= 1  # some writers do not pad to even length
        if data[place : place + 4] != b"8BIM" or place + 12 > len(data):
            return
        number, named = struct.unpack_from(">HB", data, place + 4)
        place += 6 + (named + 2) // 2 * 2  # the name, its length first, padded to even
        size = int.from_bytes(data[place : place + 4], "big")
        yield number, data[place + 4 : place + 4 + size]
        place += 4 + size + size % 2


def whole_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number of each resource, and the whole resource with its name, ready for another file."""
    place = len(MARK) if data.startswith(MARK) else 0
    for number, body in blocks(data):
        start = data.find(b"8BIM" + struct.pack(">H", number), place)
        head = start + 6 + (data[start + 6] + 2) // 2 * 2
        place = head + 4 + len(body)
        yield number, data[start:place] + bytes(len(body) % 2)


def iptc_of(data: bytes) -> bytes | None:
    """IPTC's record among resources; None if there is none."""
    return next((body for number, body in blocks(data) if number == IIM and body), None)


def descriptive(data: bytes, upright: bool) -> bytes | None:
    """The resources about the picture, without IPTC's record; without paths if the picture was turned."""
    kept = {COPYRIGHT, ADDRESS, DIGEST, *(PATHS if upright else ())}
    return b"".join(block for number, block in whole_blocks(data) if number in kept) or None


def has_paths(data: bytes) -> bool:
    return any(number in PATHS for number, _ in blocks(data))


def has_rights(data: bytes) -> bool:
    return any(number in (COPYRIGHT, ADDRESS) for number, _ in blocks(data))


def joined(iptc: bytes | None, resources: bytes | None) -> bytes:
    """IPTC's record as a resource, followed by the other resources."""
    record = b"8BIM" + struct.pack(">HHI", IIM, 0, len(iptc)) + iptc + bytes(len(iptc) % 2) if iptc else b""
    return record + (resources or b"")


def segments(iptc: bytes | None, resources: bytes | None) -> list[bytes]:
    """The resources as JPEG segments; a long list continues in the next segment."""
    whole = joined(iptc, resources)
    return [MARK + whole[start : start + SEGMENT] for start in range(0, len(whole), SEGMENT)]
