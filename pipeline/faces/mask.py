"""Soft masks: the weight of a restored crop at each pixel when it is pasted, so that no seam shows."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float32]

# Stands for a mask that covers the whole square, for a photo that is already an aligned crop.
SQUARE: Mask = np.full((1, 1), 255, np.uint8)

# Without a parsing mask: an ellipse in the crop, as fractions of its side. It reaches from the forehead to below the
# chin (the template puts the eyes at 0.47 and the mouth at 0.73 of the height) and from ear to ear. It never touches
# the crop's border (0.52 + 0.46 < 1).
ELLIPSE_CENTRE = (0.5, 0.52)
ELLIPSE_AXES = (0.40, 0.46)
# Within this fraction of the radius the restored face replaces the photo; from there to the rim it fades out.
ELLIPSE_SOLID = 0.75

# Parsing masks are softened as in facexlib (utils/face_restoration_helper.py, paste_faces_to_input_image): at 512 px,
# two Gaussians of 11 px, which together equal one of 11 sqrt(2) px.
BLUR = 11 * 2**0.5 / 512
# facexlib then cuts off 10 of 512 px along the crop's border, which leaves a visible edge through hair or a hat. Here
# the mask fades out over this fraction of the side.
FADE = 32 / 512


def ellipse(to_crop: Matrix, size: int, width: int, height: int) -> Weights:
    """Weight of the restored face (height, width) in [0, 1] for the region that `to_crop` maps into the crop.

    It is computed for each photo pixel, not warped, so it is exact at any scale: 1 inside, smoothstep to 0 at the rim.
    """
    x, y = ELLIPSE_CENTRE
    middle = np.array([[1, 0, -x * size], [0, 1, -y * size]])  # from the crop's corner to the ellipse's middle
    unit = np.diag(1 / (size * np.array(ELLIPSE_AXES))) @ middle @ np.vstack([to_crop, [0, 0, 1]])
    across, down = _places(unit, width, height)
    return smoothstep((1 - np.sqrt(across * across + down * down)) / np.float32(1 - ELLIPSE_SOLID))


def square(to_crop: Matrix, size: int, width: int, height: int) -> Weights:
    """1 for the photo's pixels (height, width) that lie in the crop, 0 for others."""
    across, down = _places(to_crop, width, height)
    return ((np.minimum(across, down) >= -0.5) & (np.maximum(across, down) <= size - 0.5)).astype(np.float32)


def softened(mask: Mask, to_photo: Matrix, width: int, height: int) -> Weights:
    """A parsing mask (S, S), 255 where the restored face counts, with soft edges: (S, S) in [0, 1].

    to_photo: (2, 3) crop to photo; the photo is width x height px. The weight falls to 0 at the crop's border, so that
    no straight edge shows. Pixels of the crop beyond the photo's edge are ignored, so a face that this edge cuts off is
    restored up to the edge.
    """
    size = mask.shape[0]
    inside = _inside(to_photo, size, width, height)
    sigma = BLUR * size
    weight = cv2.GaussianBlur(inside * (mask / np.float32(255)), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    share = cv2.GaussianBlur(inside, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    border = np.zeros_like(inside)
    border[[0, -1]] = inside[[0, -1]]
    border[:, [0, -1]] = inside[:, [0, -1]]
    distance = cv2.distanceTransform((border == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (weight / np.maximum(share, 1e-6) * smoothstep(distance / (FADE * size))).astype(np.float32)


def _inside(to_photo: Matrix, size: int, width: int, height: int) -> Weights:
    """1 for the crop's pixels (size, size) that lie in the photo, 0 for others."""
    across, down = _places(to_photo, size, size)
    inside = (np.minimum(across, down) >= -0.5) & (across <= width - 0.5) & (down <= height - 0.5)
    return inside.astype(np.float32)


def _places(matrix: Matrix, width: int, height: int) -> tuple[Weights, Weights]:
    """Where `matrix` maps the pixels of a picture: x and y, each (height, width)."""
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    across, down = ((row[0] * x + row[2]).astype(np.float32) + (row[1] * y).astype(np.float32) for row in matrix)
    return across, down


def smoothstep(x: npt.NDArray[np.floating]) -> Weights:
    """0 for x <= 0, 1 for x >= 1, and smooth in between."""
    x = np.clip(x, 0, 1)
    return (x * x * (3 - 2 * x)).astype(np.float32, copy=False)
