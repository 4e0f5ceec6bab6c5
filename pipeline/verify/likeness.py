"""Comparison of a published photo with the one that a replay made; runs in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.config.limits import Limits
from pipeline.photos import decode as photo_decoder
from pipeline.photos import photo
from pipeline.provenance.regions import Box

# Root mean square of the difference that rounding may make, in levels of 255. Measured with the demo weights on two CPU
# cores: a different thread count or batch size moves the model's output by at most 5e-5 of its range of 2, one 8-bit
# value in 1,000 by one level, and restored photos by at most 0.06; a different seed or colour fix, by 1.2 or more.
ROUNDING = 0.5
# How much more of such a picture a lossy encoder may lose.
LOSS = 1.25


def difference(published: bytes, again: bytes, exact: bytes, boxes: Sequence[Box], limits: Limits) -> float:
    """Difference of a published photo to the one made again, beyond its format's loss; up to ROUNDING they are equal.

    again: the photo made again, in the format of the published one; exact: the same without loss. boxes: the faces, px.
    A lossy encoder turns one level in the input into many in the output, so its files are not compared with each
    other, but each with the exact picture: the published one must be as near to it as the other. Gives levels of 255,
    for the worst of the boxes and the whole photo; infinite if the sizes differ. Raises PhotoError.
    """
    pictures = [levels(photo_decoder.decode(data, limits)) for data in (published, again, exact)]
    shown, made, meant = pictures
    if not shown.shape == made.shape == meant.shape:
        return float("inf")
    height, width = meant.shape[:2]
    parts = [clipped(box, width, height) for box in (*boxes, (0, 0, width, height))]
    return max(rms(shown[part] - meant[part]) - LOSS * rms(made[part] - meant[part]) for part in parts)


def levels(decoded: photo.Photo) -> npt.NDArray[np.float32]:
    """(H, W, 3) sRGB, 0 to 255."""
    srgb = decoded.srgb()
    return srgb.astype(np.float32) * (255 / np.iinfo(srgb.dtype).max)


def clipped(box: Box, width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of a box, at least one of each."""
    x0, y0 = (min(max(int(edge), 0), size - 1) for edge, size in ((box[0], width), (box[1], height)))
    x1, y1 = (min(max(int(np.ceil(edge)), 1), size) for edge, size in ((box[2], width), (box[3], height)))
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def rms(values: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values).mean(dtype=np.float64)))
