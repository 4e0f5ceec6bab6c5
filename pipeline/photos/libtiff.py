"""TIFF files that libvips' wheel does not read: old-style JPEG, ZSTD and similar, tiles of separate planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.photos.tiff import Fields, Tiff, is_tiff
from pipeline.photos.tiff_pages import COMPRESSION, LENGTH, OLD_JPEG, TILES, WIDTH

BITS, PHOTOMETRIC, SAMPLES, PLANAR, COLOUR_MAP, FORMAT = 258, 262, 277, 284, 320, 339
SEPARATE, UNSIGNED = 2, 1
COLOURS = {0: 1, 1: 1, 2: 3, 5: 4, 6: 3}  # of PHOTOMETRIC: white or black is zero, RGB, CMYK, YCbCr
WHITE_IS_ZERO, PALETTE, YCBCR = 0, 3, 6
# COMPRESSION -> its name: LZMA, ZSTD, WebP, LERC, JPEG XL, and the JPEG from before TIFF's supplement 2.
NAMES = {OLD_JPEG: "old-style JPEG", 34925: "LZMA", 50000: "ZSTD", 50001: "WebP", 34887: "LERC", 50002: "JPEG XL"}
JPEGS = (OLD_JPEG, 50001)  # they decode to RGB


def wanted(data: bytes) -> Fields | None:
    """The fields of a TIFF that libvips cannot read but libtiff may; None for other files."""
    if not is_tiff(data):
        return None
    try:
        source = Tiff(data)
        fields = source.read(source.chain(1)[0])
    except (ValueError, IndexError):
        return None
    tiled = number(fields, PLANAR, 1) == SEPARATE and TILES[0] in fields
    return fields if tiled or number(fields, COMPRESSION, 1) in NAMES else None


def number(fields: Fields, tag: int, default: int) -> int:
    return (*(fields[tag].numbers() if tag in fields else ()), default)[0]


def size(fields: Fields) -> tuple[int, int]:
    """Width and height, px."""
    return number(fields, WIDTH, 0), number(fields, LENGTH, 0)


def pixels(data: bytes, fields: Fields) -> tuple[npt.NDArray[Any], int]:
    """(H, W, B) of 8 or 16 bits, and the number of colour channels; a palette is expanded.

    Raises ValueError; its message contains "not supported" for a kind that is not decoded.
    """
    photometric, bits = number(fields, PHOTOMETRIC, 1), number(fields, BITS, 1)
    kind = NAMES.get(number(fields, COMPRESSION, 1), "planar tiled")
    plain = number(fields, FORMAT, UNSIGNED) == UNSIGNED and bits in (8, 16)
    known = photometric in COLOURS or (photometric == PALETTE and COLOUR_MAP in fields and bits == 8)
    if not plain or not known or (photometric == YCBCR and number(fields, COMPRESSION, 1) not in JPEGS):
        raise ValueError(f"{kind} TIFF of {bits} bits, photometric {photometric}, is not supported")
    read = _decoded(data, fields)
    if photometric == PALETTE:
        table = np.array(fields[COLOUR_MAP].numbers(), np.uint16).reshape(3, -1).T
        return (table >> 8).astype(np.uint8)[read[..., 0]], 3
    if photometric == WHITE_IS_ZERO:
        read[..., 0] = np.iinfo(read.dtype).max - read[..., 0]
    if read.shape[2] < COLOURS[photometric]:
        raise ValueError("it has fewer channels than colours")
    return read, COLOURS[photometric]


def _decoded(data: bytes, fields: Fields) -> npt.NDArray[Any]:
    """(H, W, B), with channels last for any order in the file."""
    from imagecodecs import tiff_decode

    width, height = size(fields)
    bands = number(fields, SAMPLES, 1)
    try:
        read = np.array(tiff_decode(data))
    except (RuntimeError, ValueError, LookupError) as error:
        raise ValueError(f"the content is damaged: {error}") from error
    planes = number(fields, PLANAR, 1) == SEPARATE and read.shape == (bands, height, width)
    read = np.moveaxis(read, 0, 2) if planes else read
    if read.size != width * height * bands or read.dtype not in (np.uint8, np.uint16):
        raise ValueError("the content is damaged")
    return np.ascontiguousarray(read.reshape(height, width, bands))
