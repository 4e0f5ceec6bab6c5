"""A detected face, the interface of a detector, and the removal of duplicate detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from interlcm.errors import InterLCMError
from pipeline.faces.alignment import Pixels


class DetectorError(InterLCMError):
    """A detector cannot be loaded: one line with its name, the fault and the remedy."""


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the upright photo.

    box: (x0, y0, x1, y1), may reach beyond the photo. landmarks: (5, 2) float32: left eye, right eye, nose, left and
    right mouth corner, left and right as seen in the image. score: 0 to 1, comparable only within one detector.
    """

    box: tuple[float, float, float, float]
    landmarks: npt.NDArray[np.float32]
    score: float

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def eye_distance(self) -> float:
        """Distance between the two eye landmarks (px)."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def tilt(self) -> float:
        """Angle of the line from the left to the right eye (radians), clockwise: 0 for an upright face."""
        x, y = self.landmarks[1] - self.landmarks[0]
        return float(np.arctan2(y, x))


@dataclass(frozen=True)
class Reach:
    """What a detector can handle in one call; `search` scales and tiles a photo to match.

    Attributes:
        smallest: width of the smallest face that the detector finds reliably, px.
        view: longest side of a picture given to the detector, px.
        share: fraction of the pixel budget of a photo that the detector may use; smaller for a slow detector.
        accept: lowest score of a face in a second, enlarged look; 0: no second look.
        sure: median score below which the photo is also searched turned.
    """

    smallest: int
    view: int
    share: float
    accept: float = 0.0
    sure: float = 0.0


class Detector(Protocol):
    """Finds faces in pictures, without scaling or turning them."""

    name: str
    reach: Reach

    def detect(self, views: Sequence[Pixels], min_face: int) -> list[list[Face]]:
        """For each view its faces at least min_face px wide, in px.

        views: (H, W, 3) uint8 RGB, upright, at most reach.view px long; sizes may differ.
        """
        ...


def suppress(faces: Iterable[Face]) -> list[Face]:
    """Drop each face that mostly overlaps a better one or lies within it. Returns the rest by score, then position."""
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


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1: 1 for the same place, 0 for places apart."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both
    return both / union if union > 0 else 0.0


def shrink(pixels: Pixels, scale: float) -> Pixels:
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])  # a line stays a line
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def nearest_middle(faces: list[Face], pixels: Pixels) -> list[Face]:
    """The face whose box lies nearest to the middle of the photo, if there is one."""
    middle = np.array([pixels.shape[1], pixels.shape[0]]) / 2

    def distance(one: Face) -> float:
        x0, y0, x1, y1 = one.box
        return float(np.hypot(*(np.array([x0 + x1, y0 + y1]) / 2 - middle)))

    return sorted(faces, key=distance)[:1]
