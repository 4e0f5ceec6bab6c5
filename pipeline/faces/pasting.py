"""Paste restored crops back into their photo."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.faces.alignment import Floats, Matrix, Pixels, _as, _footprint, _reduce, _scale, _shift, compose, invert
from pipeline.faces.mask import SQUARE, Mask, ellipse, softened, square

# Lines of the photo that are blended at a time: a face may fill a photo of 16384 x 16384 px.
STRIP = 128


def paste(
    pixels: Pixels, crop: Pixels | Floats, matrix: Matrix, mask: Mask | None = None, strength: float = 1.0
) -> None:
    """Paste a restored crop into the photo, in place, through a soft mask.

    pixels: (H, W, B), B at most 4, changed only where the weight is above zero, rounded to their type. crop: (S, S, B)
    in the same value range. matrix: (2, 3) photo to crop, as `align` returned it. mask: (S, S), 255 where the restored
    face counts; None: an ellipse; SQUARE: the whole crop. strength: share of the crop in the pixels below it, 0 to 1;
    with 0 they are not touched. A crop outside the photo changes nothing. Where faces overlap, the one pasted last lies
    on top, so paste them in the order of face_index.
    """
    size, bands = crop.shape[0], pixels.shape[2]
    if crop.shape != (size, size, bands):
        raise ValueError(f"restored crop has shape {crop.shape}, expected (S, S, {bands})")
    height, width = pixels.shape[:2]
    left, top, right, bottom = _footprint(matrix, size)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right:
        return
    soft = mask if mask is None or mask is SQUARE else softened(mask, invert(matrix), width, height)
    for line in range(top, bottom, STRIP):
        region = pixels[line : min(line + STRIP, bottom), left:right]
        _blend(region, crop, compose(matrix, _shift(left, line)), soft, strength)


def _blend(region: Pixels, crop: Pixels | Floats, to_crop: Matrix, soft: Mask | Floats | None, strength: float) -> None:
    """Paste into one part of the photo, which to_crop (2, 3) maps into the crop. soft: None, SQUARE or (S, S)."""
    height, width = region.shape[:2]
    size = crop.shape[0]
    if soft is None:
        weight = ellipse(to_crop, size, width, height)
    elif soft is SQUARE:
        weight = square(to_crop, size, width, height)
    else:
        weight = _warped(soft.astype(np.float32), to_crop, width, height, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)[..., 0]
    weight = weight * np.float32(strength)
    if not weight.any():
        return
    blended = _warped(crop.astype(np.float32), to_crop, width, height, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    before = region.astype(np.float32)
    blended -= before
    blended *= weight[..., None]
    blended += before
    np.copyto(region, _as(blended, region), where=weight[..., None] > 0)


def _warped(crop: Floats, to_crop: Matrix, width: int, height: int, interpolation: int, border: int) -> Floats:
    """(height, width, B): the crop (S, S) or (S, S, B) as it lies in the part of the photo that to_crop describes."""
    reduced, to_reduced = _reduce(crop, int(_scale(to_crop)))
    warped = cv2.warpAffine(
        reduced,
        compose(to_reduced, to_crop),
        (width, height),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    return np.asarray(warped, np.float32).reshape(height, width, -1)
