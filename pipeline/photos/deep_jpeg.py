"""JPEG files that libvips' libjpeg does not read: 12 bits (ITU-T T.81, extended DCT), and lossless of 2 to 16 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.photos.container import APP2, ICC_MARK, jpeg_segments
from pipeline.photos.jpeg import END

FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers (table B.1)
LOSSLESS = 0xC3


@dataclass(frozen=True)
class Frame:
    """A JPEG's frame header. bits: of a sample."""

    marker: int
    bits: int
    width: int
    height: int
    channels: int

    @property
    def is_deep(self) -> bool:
        return self.bits != 8 or self.marker == LOSSLESS


def frame(data: bytes) -> Frame | None:
    """The frame header; None if there is none before the first scan."""
    body, marker = next(((body, one) for one, body in jpeg_segments(data) if one in FRAMES), (b"", 0))
    if len(body) < 6:
        return None
    bits, height, width, channels = struct.unpack_from(">BHHB", body)
    return Frame(marker, bits, width, height, channels)


def pixels(data: bytes, known: Frame) -> npt.NDArray[Any]:
    """(H, W, channels) as grey or RGB: uint8, or uint16 of known.bits. Raises ValueError."""
    from imagecodecs import jpeg8_decode

    if known.channels not in (1, 3):
        raise ValueError(f"JPEG with {known.channels} channels of {known.bits} bits is not supported")
    try:
        read = np.asarray(jpeg8_decode(data))
    except RuntimeError as error:
        raise ValueError(f"the content is damaged: {error}") from error
    if END not in data[-64:]:
        raise ValueError("the content is cut off")  # libjpeg invents the rest
    return read.reshape(known.height, known.width, known.channels)


def profile(data: bytes) -> bytes | None:
    """The ICC profile, from its numbered parts (ICC.1:2022, annex B.4)."""
    start = len(ICC_MARK)
    marked = [body for marker, body in jpeg_segments(data) if marker == APP2 and body.startswith(ICC_MARK)]
    parts = {body[start]: body[start + 2 :] for body in marked if len(body) > start + 2}
    return b"".join(parts[number] for number in sorted(parts)) or None
