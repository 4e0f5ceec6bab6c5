"""Photoshop's image resources, which JPEG, TIFF and PNG files carry (Photoshop File Formats, Image Resource Blocks)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MARK = b"Photoshop 3.0\0"  # in front of them in a JPEG's segment
IIM = 1028  # IPTC's record
# Copyright flag, address, digest of the IPTC record, and from 2000 on saved paths and which of them clips. Others say
# how Photoshop last showed the file, or are pictures of the old faces.
COPYRIGHT, ADDRESS, DIGEST = 1034, 1035, 1061
PATHS = range(2000, 3000)
SEGMENT = 65000  # bytes of one JPEG segment, with room for its head


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each resource; one that is cut off ends them."""
    place = len(MARK) if data.startswith(MARK) else 0
    while True:
        if data[place : place + 4] != b"8BIM" and data[place - 1 : place + 3] == b"8BIM":
            place -= 1  # a writer that does not pad to even
        if data[place : place + 4] != b"8BIM" or place + 12 > len(data):
            return
        number, named = struct.unpack_from(">HB", data, place + 4)
        place += 6 + (named + 2) // 2 * 2  # the name, its length first, padded to even
        size = int.from_bytes(data[place : place + 4], "big")
        yield number, data[place + 4 : place + 4 + size]
        place += 4 + size + size % 2


def whole_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number of each resource, and the resource with its name, as it is to stand in another file."""
    place = len(MARK) if data.startswith(MARK) else 0
    for number, body in blocks(data):
        start = data.find(b"8BIM" + struct.pack(">H", number), place)
        head = start + 6 + (data[start + 6] + 2) // 2 * 2
        place = head + 4 + len(body)
        yield number, data[start:place] + bytes(len(body) % 2)


def iptc_of(data: bytes) -> bytes | None:
    """IPTC's record among resources; None where there is none."""
    return next((body for number, body in blocks(data) if number == IIM and body), None)


def descriptive(data: bytes, upright: bool) -> bytes | None:
    """The resources that say something of the picture, IPTC's record aside; a turned picture has no paths."""
    kept = {COPYRIGHT, ADDRESS, DIGEST, *(PATHS if upright else ())}
    return b"".join(block for number, block in whole_blocks(data) if number in kept) or None


def has_paths(data: bytes) -> bool:
    return any(number in PATHS for number, _ in blocks(data))


def has_rights(data: bytes) -> bool:
    return any(number in (COPYRIGHT, ADDRESS) for number, _ in blocks(data))


def joined(iptc: bytes | None, resources: bytes | None) -> bytes:
    """The record as a resource, and the others after it."""
    record = b"8BIM" + struct.pack(">HHI", IIM, 0, len(iptc)) + iptc + bytes(len(iptc) % 2) if iptc else b""
    return record + (resources or b"")


def segments(iptc: bytes | None, resources: bytes | None) -> list[bytes]:
    """The same as JPEG segments; a long list goes on in the next one."""
    whole = joined(iptc, resources)
    return [MARK + whole[start : start + SEGMENT] for start in range(0, len(whole), SEGMENT)]
