"""Geometry of aligned crops: cut a face out of a photo upright, and map crop coordinates back to the photo.

The geometry is facexlib's (xinntao/facexlib, utils/face_restoration_helper.py), because the published weights
were trained on crops made this way: five landmarks, the FFHQ template and a similarity transform (rotation,
one scale, translation) estimated by least median of squares. Crop and photo coordinates refer to pixel centres,
x to the right and y down.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  # of a photo, at its own depth
Floats = npt.NDArray[np.float32]
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


def align(pixels: Pixels, landmarks: npt.ArrayLike, size: int) -> tuple[Pixels, Matrix]:
    """Cut one face out upright, with eyes and mouth where the FFHQ template has them.

    pixels: (H, W, B) uint8 or uint16. landmarks: (5, 2) px. Returns the crop (size, size, B) of the same type and the
    matrix (2, 3) that maps photo coordinates to crop coordinates. Raises ValueError if no similarity transform fits the
    landmarks.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != TEMPLATE.shape:
        raise ValueError(f"landmarks have shape {points.shape}, expected {TEMPLATE.shape}")
    estimate, _ = cv2.estimateAffinePartial2D(points, TEMPLATE * (size / TEMPLATE_SIZE), method=cv2.LMEDS)
    matrix: Matrix = np.full((2, 3), np.nan) if estimate is None else np.asarray(estimate, dtype=np.float64)
    if not np.isfinite(matrix).all() or _scale(matrix) == 0:
        raise ValueError(f"landmarks {points.round(1).tolist()} fit no similarity transform")
    return _as(cut(pixels, matrix, size), pixels), matrix


def landmark_error(landmarks: npt.ArrayLike) -> float:
    """How far five landmarks (5, 2) are from the template's at the best similarity transform: the root of the mean
    squared distance, in eye distances of the mean face. infinity if they all lie at one place."""
    wanted, given = (points @ (1, 1j) for points in (TEMPLATE, np.asarray(landmarks, np.float64)))
    wanted, given = wanted - wanted.mean(), given - given.mean()
    factor = np.vdot(wanted, given) / np.vdot(wanted, wanted)  # scale and rotation, as one complex number
    rest = np.sqrt(np.mean(np.abs(given - factor * wanted) ** 2))
    eyes = abs(factor * (wanted[1] - wanted[0]))
    return float(rest / eyes) if eyes else float("inf")


def cut(pixels: Pixels | Floats, matrix: Matrix, size: int) -> Floats:
    """The crop (size, size, B) that `matrix` (2, 3), photo to crop, describes; same value range as `pixels`, unrounded.

    pixels: (H, W, B), B at most 4. Beyond the photo's edge, the crop shows the photo mirrored (facexlib's border_mode
    "reflect101"). facexlib's other choice, grey, would leave a grey fringe along the edge when the crop is pasted.
    """
    factor = int(1 / _scale(matrix))
    margin = 2 * max(factor, 1)  # pixels that the interpolation may read beyond the crop
    left, top, right, bottom = _footprint(matrix, size)
    left, right = _mirrored(left - margin, right + margin, pixels.shape[1])
    top, bottom = _mirrored(top - margin, bottom + margin, pixels.shape[0])
    reduced, to_reduced = _reduce(np.ascontiguousarray(pixels[top:bottom, left:right]), factor)
    crop = cv2.warpAffine(
        reduced.astype(np.float32),
        compose(compose(matrix, _shift(left, top)), invert(to_reduced)),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(crop, np.float32).reshape(size, size, -1)


def scaled(matrix: Matrix, factor: float) -> Matrix:
    """The matrix (2, 3), photo to crop, of the same crop in the photo enlarged by `factor`."""
    shift = 0.5 / factor - 0.5  # pixel centres: x + 0.5 = (x' + 0.5) / factor
    return compose(matrix, np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]]))


def whole(width: int, height: int, size: int) -> Matrix:
    """The matrix (2, 3), photo to crop, of a square photo that is already an aligned crop. ValueError if not square."""
    if width != height:
        raise ValueError(f"{width} x {height} px is not square")
    return scaled(np.eye(2, 3), width / size)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The (2, 3) affine matrix that applies `first`, then `second`."""
    return second @ np.vstack([first, [0, 0, 1]])


def invert(matrix: Matrix) -> Matrix:
    """The (2, 3) matrix that undoes an affine (2, 3) matrix."""
    return cv2.invertAffineTransform(matrix).astype(np.float64)


def _scale(matrix: Matrix) -> float:
    """How many crop pixels one photo pixel becomes, along a line."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _shift(left: int, top: int) -> Matrix:
    """The (2, 3) matrix from coordinates in a part of the photo to coordinates in the photo."""
    return np.array([[1, 0, left], [0, 1, top]], dtype=np.float64)


def _as(values: Floats, like: Pixels) -> Pixels:
    """Rounded and clipped to the type of `like`."""
    rounded: Any = np.rint(values)
    return rounded.clip(0, np.iinfo(like.dtype).max, out=rounded).astype(like.dtype)


def _reduce(pixels: Any, factor: int) -> tuple[Any, Matrix]:
    """Average blocks of factor x factor pixels, so that a bilinear warp afterwards does not alias.

    Returns the smaller picture, of the same type, and the (2, 3) matrix from old to new coordinates. A partial block at
    the edge is averaged over the pixels it has.
    """
    if factor < 2:
        return pixels, np.eye(2, 3)
    height, width = pixels.shape[:2]
    pad_x, pad_y = -width % factor, -height % factor
    padded = cv2.copyMakeBorder(pixels, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE) if pad_x or pad_y else pixels
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    shift = 0.5 / factor - 0.5  # pixel centres: x' + 0.5 = (x + 0.5) / factor
    matrix = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]])
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA), matrix


def _footprint(matrix: Matrix, size: int) -> tuple[int, int, int, int]:
    """The smallest upright box (left, top, right, bottom) of photo pixels that holds the crop.

    The box may reach beyond the photo.
    """
    border = np.array([[x, y, 1] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    corners = border @ invert(matrix).T
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    return int(left), int(top), int(right), int(bottom)


def _mirrored(start: int, end: int, length: int) -> tuple[int, int]:
    """The range of pixels needed to show start to end of a line of `length` pixels, mirrored beyond both its ends."""
    first, last = max(start, 0), min(end, length)
    if start < 0:
        first, last = 0, max(last, 1 - start)
    if end > length:
        first, last = min(first, 2 * length - 1 - end), length
    return max(first, 0), min(last, length)
