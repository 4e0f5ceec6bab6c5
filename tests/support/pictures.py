"""Pictures for tests: two portraits with one face that the Haar cascades find, and a picture without one."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt

from jobs import samples

Pixels = npt.NDArray[np.uint8]


def hopper(width: int = 128) -> Pixels:
    """(1.17 width, width, 3) uint8 RGB, one face; Haar finds it down to a width of 96 px."""
    return resized(samples.grace_hopper(), width)


def astronaut(width: int = 160) -> Pixels:
    """(width, width, 3) uint8 RGB, one face; Haar finds it down to a width of 96 px."""
    import skimage.data

    return resized(skimage.data.astronaut()[samples.ASTRONAUT_FACE], width)


def coffee(width: int = 128) -> Pixels:
    """(0.67 width, width, 3) uint8 RGB, no face."""
    import skimage.data

    return resized(skimage.data.coffee(), width)


def side_by_side(*pictures: Pixels) -> Pixels:
    """Several pictures side by side, as high as the lowest."""
    height = min(len(picture) for picture in pictures)
    return np.concatenate([picture[:height] for picture in pictures], axis=1)


def resized(pixels: Pixels, width: int) -> Pixels:
    scale = width / pixels.shape[1]
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def encoded(pixels: Pixels, format: str = "JPEG") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def decoded(data: bytes) -> Pixels:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
