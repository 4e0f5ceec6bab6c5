"""Faces in a photo: where they are, how a crop is cut out upright, and how it is put back.

The geometry is facexlib's (xinntao/facexlib, utils/face_restoration_helper.py), because the published weights
were trained on crops made this way: five landmarks, the FFHQ template and a similarity transform (rotation,
one scale, translation) estimated by least median of squares. Crop and photo coordinates are pixel centres, x
to the right and y down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

# Mean landmarks of FFHQ faces in a 512 x 512 crop: left eye, right eye, nose, left and right mouth corner, in
# image order (facexlib, FaceRestoreHelper.face_template).
TEMPLATE_SIZE = 512
TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ],
    dtype=np.float64,
)

# The paste mask is an ellipse in the crop, as fractions of its side: forehead to below the chin (the template
# puts the eyes at 0.47 and the mouth at 0.73 of the height), ear to ear, never touching the crop's border
# (0.52 + 0.46 < 1).
MASK_CENTRE = (0.5, 0.52)
MASK_AXES = (0.40, 0.46)
# Inside this fraction of the radius the restored face replaces the photo, from there to the rim it fades out.
MASK_SOLID = 0.75


class DetectorError(Exception):
    """A detector cannot be loaded: one line with its name, what is wrong and the remedy."""


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the upright photo.

    box: (x0, y0, x1, y1), may reach beyond the photo. landmarks: (5, 2) float32, left eye, right eye, nose,
    left and right mouth corner in image order. score: 0 to 1, comparable only between faces of one detector.
    """

    box: tuple[float, float, float, float]
    landmarks: npt.NDArray[np.float32]
    score: float

    @property
    def eye_distance(self) -> float:
        """Distance between the two eye landmarks (px)."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


def align(pixels: Pixels, landmarks: npt.ArrayLike, size: int) -> tuple[Pixels, Matrix]:
    """Cut one face out upright, eyes and mouth where the FFHQ template has them.

    pixels: (H, W, 3) uint8. landmarks: (5, 2) px. Returns the crop (size, size, 3) uint8 and the matrix (2,
    3) that takes photo coordinates to crop coordinates. Raises ValueError where the landmarks fit no
    similarity transform.

    Beyond the photo's edge the crop shows it mirrored (facexlib's border_mode "reflect101"): facexlib's other
    choice, grey, would come back as a grey fringe along the edge.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != TEMPLATE.shape:
        raise ValueError(f"landmarks have shape {points.shape}, expected {TEMPLATE.shape}")
    estimate, _ = cv2.estimateAffinePartial2D(points, TEMPLATE * (size / TEMPLATE_SIZE), method=cv2.LMEDS)
    matrix: Matrix = np.full((2, 3), np.nan) if estimate is None else np.asarray(estimate, dtype=np.float64)
    if not np.isfinite(matrix).all() or _scale(matrix) == 0:
        raise ValueError(f"landmarks {points.round(1).tolist()} fit no similarity transform")
    reduced, to_reduced = _reduce(pixels, int(1 / _scale(matrix)))
    crop = cv2.warpAffine(
        reduced,
        compose(matrix, invert(to_reduced)),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return crop.astype(np.uint8, copy=False), matrix


def paste(pixels: Pixels, restored: Pixels, matrix: Matrix) -> None:
    """Put a restored crop back into the photo, in place, through a soft elliptical mask.

    pixels: (H, W, 3) uint8, changed only where the mask is above zero. restored: (S, S, 3) uint8. matrix: (2,
    3) photo to crop, as `align` returned it. A crop of which nothing lies inside the photo changes nothing.
    """
    size = restored.shape[0]
    if restored.shape != (size, size, 3):
        raise ValueError(f"restored crop has shape {restored.shape}, expected a square (S, S, 3)")
    left, top, right, bottom = _support(matrix, size, pixels.shape[1], pixels.shape[0])
    if left >= right or top >= bottom:
        return
    region = pixels[top:bottom, left:right]
    to_crop = compose(matrix, np.array([[1, 0, left], [0, 1, top]], dtype=np.float64))  # region -> crop
    mask = _mask(to_crop, size, right - left, bottom - top)[..., None]  # (h, w, 1)
    reduced, to_reduced = _reduce(restored, int(_scale(matrix)))
    face = cv2.warpAffine(
        reduced,
        compose(to_reduced, to_crop),
        (right - left, bottom - top),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    blended = np.rint(region + mask * (face.astype(np.float32) - region)).clip(0, 255).astype(np.uint8)
    np.copyto(region, blended, where=mask > 0)


def suppress(faces: Iterable[Face]) -> list[Face]:
    """Of faces that mostly overlap, or lie within another, the best; ordered by score, then place."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (-face.score, face.box)):
        if all(_overlap(face.box, other.box) < 0.5 for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over the smaller area, so that a box inside a box counts as overlapping."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(width, 0) * max(height, 0) / smaller if smaller > 0 else 0.0


def shrink(pixels: Pixels, scale: float) -> Pixels:
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])  # a line stays a line
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The (2, 3) affine matrix that applies `first`, then `second`."""
    return second @ np.vstack([first, [0, 0, 1]])


def invert(matrix: Matrix) -> Matrix:
    """The (2, 3) matrix that undoes an affine (2, 3) matrix."""
    return cv2.invertAffineTransform(matrix).astype(np.float64)


def _scale(matrix: Matrix) -> float:
    """Crop pixels for one photo pixel along a line."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _reduce(pixels: Pixels, factor: int) -> tuple[Pixels, Matrix]:
    """Average blocks of factor x factor pixels, so that a following bilinear warp does not alias.

    Returns the smaller picture and the (2, 3) matrix from old to new coordinates. A last partial block is
    averaged over the pixels it has.
    """
    if factor < 2:
        return pixels, np.eye(2, 3)
    height, width = pixels.shape[:2]
    pad_x, pad_y = -width % factor, -height % factor
    padded = cv2.copyMakeBorder(pixels, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE) if pad_x or pad_y else pixels
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    shift = 0.5 / factor - 0.5  # pixel centres: x' + 0.5 = (x + 0.5) / factor
    matrix = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]])
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), matrix


def _support(matrix: Matrix, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the photo (left, top, right, bottom) that the mask's ellipse can touch."""
    centre = invert(matrix) @ np.array([MASK_CENTRE[0] * size, MASK_CENTRE[1] * size, 1])
    reach = max(MASK_AXES) * size / _scale(matrix) + 1
    left, top = np.floor(centre - reach).astype(int)
    right, bottom = np.ceil(centre + reach).astype(int) + 1
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _mask(to_crop: Matrix, size: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """Weight of the restored face (height, width) in [0, 1] for the region that `to_crop` maps into the crop.

    Computed for each photo pixel, not warped, so it is exact at any scale: 1 inside, smoothstep to 0 at the
    rim.
    """
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    crop_x = to_crop[0, 0] * x + to_crop[0, 1] * y + to_crop[0, 2]
    crop_y = to_crop[1, 0] * x + to_crop[1, 1] * y + to_crop[1, 2]
    radius = np.hypot((crop_x / size - MASK_CENTRE[0]) / MASK_AXES[0], (crop_y / size - MASK_CENTRE[1]) / MASK_AXES[1])
    fade = np.clip((1 - radius) / (1 - MASK_SOLID), 0, 1)
    return (fade * fade * (3 - 2 * fade)).astype(np.float32)
