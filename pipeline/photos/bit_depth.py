"""Convert arrays of samples between 8 and 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Native = npt.NDArray[Any]  # uint8 or uint16
Floats = npt.NDArray[Any]  # float32


def eight_bit(samples: Native) -> npt.NDArray[np.uint8]:
    """uint8 or uint16 samples of any shape as 8 bits, rounded: 65535 / 257 = 255."""
    if samples.dtype == np.uint8:
        return samples
    return np.rint(np.arange(65536) / 257).astype(np.uint8)[samples]


def levels(native: Native, bits: int) -> Native:
    """uint16 samples rounded to this many bits, in the upper bits, as libvips wants them for AVIF."""
    table = np.rint(np.arange(65536) * ((1 << bits) - 1) / 65535).astype(np.uint16) << (16 - bits)
    return table[native]


def full_range(native: Native, bits: int, shift: int = 0) -> Native:
    """Samples of 9 to 16 bits, shifted `shift` bits to the left, over the full range of uint16; `levels` inverts it."""
    table = np.rint((np.arange(65536) >> shift).clip(0, (1 << bits) - 1) * (65535 / ((1 << bits) - 1)))
    return table.astype(np.uint16)[native]


def spread(native: Native, bits: int) -> Native:
    """Samples of this many bits over the full range of their type."""
    if native.dtype == np.uint16:
        return full_range(native, bits)
    return native if bits >= 8 else np.rint(native * (255 / ((1 << bits) - 1))).astype(np.uint8)
