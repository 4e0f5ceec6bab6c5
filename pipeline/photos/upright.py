"""Check the size of a photo, and turn its pixels upright."""

from __future__ import annotations

import numpy as np

from pipeline.config.limits import Limits
from pipeline.photos.bit_depth import Native
from pipeline.photos.errors import PhotoError


def check_size(width: int, height: int, limits: Limits) -> None:
    """Check a size before decoding. Raises ValueError for no pixels, PhotoError for too many."""
    if width < 1 or height < 1:
        raise ValueError("it has no pixels")
    if width * height > limits.pixels:
        most = f"{limits.pixels / 1e6:,.4g} Mpx"
        raise PhotoError("too_large", f"{width} x {height} px are more than the limit of {most}")


def upright(native: Native, turn: int) -> Native:
    """The pixels turned by EXIF's Orientation (CIPA DC-008, 4.6.5), which says where the first row and column are."""
    if turn in (5, 6, 7, 8):
        native = native.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        native = native[::-1]
    if turn in (2, 3, 6, 7):
        native = native[:, ::-1]
    return np.ascontiguousarray(native)


def peak(native: Native) -> int:
    """The highest value of a sample."""
    return int(np.iinfo(native.dtype).max)
