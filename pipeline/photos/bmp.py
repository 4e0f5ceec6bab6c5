"""Windows bitmaps, which libvips leaves to ImageMagick: read the header; OpenCV decodes the pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.photos.metadata import Metadata, whole_dpi

HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the headers that exist
V5, EMBEDDED = 124, b"DEBM"  # the header that can hold a profile, and its mark for one: 'MBED', little-endian


@dataclass
class Header:
    """width, height: px. bits: of a pixel. profile: embedded or None."""

    width: int
    height: int
    bits: int
    profile: bytes | None
    metadata: Metadata


def is_bmp(data: bytes) -> bool:
    """Whether these bytes begin a Windows bitmap: "BM", then a known header size (a text may begin with BM)."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in HEADERS and len(data) >= 18


def header(data: bytes) -> Header:
    """Read the header. Raises ValueError if it is cut off."""
    size = data[14]
    if len(data) < 14 + size:
        raise ValueError("the header is cut off")
    if size == 12:  # OS/2's header counts in 16 bits and has no resolution
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Header(width, height, bits, None, Metadata())
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    across, down = struct.unpack_from("<ii", data, 38)  # pixels per metre; 0: unknown
    dpi = (whole_dpi(across), whole_dpi(down)) if across > 0 and down > 0 else None
    return Header(abs(width), abs(height), bits, _profile(data, size), Metadata(dpi=dpi))


def pixels(data: bytes, known: Header) -> npt.NDArray[np.uint8]:
    """(H, W, 1, 3 or 4) as grey, RGB or RGBA. Raises ValueError."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.shape[:2] != (known.height, known.width) or read.dtype != np.uint8:
        raise ValueError("the content is damaged")
    read = read.reshape(known.height, known.width, -1)
    if read.shape[2] > 2:  # OpenCV has blue first
        cv2.cvtColor(read, cv2.COLOR_BGR2RGB if read.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=read)
    result: npt.NDArray[Any] = read
    return result


def _profile(data: bytes, size: int) -> bytes | None:
    if size != V5 or data[14 + 56 : 14 + 60] != EMBEDDED:
        return None
    start, count = struct.unpack_from("<II", data, 14 + 112)
    profile = data[14 + start : 14 + start + count]
    return profile if len(profile) == count > 0 else None
