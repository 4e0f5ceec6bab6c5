"""Search a photo of any size for faces: without halftone dots, contrast stretched, in tiles, at several scales, turned.

A detector takes one picture at one scale. Its `Reach` says how a photo is scaled and tiled for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.faces import alignment
from pipeline.faces.face import Detector, Face, shrink, suppress
from pipeline.faces.screen import descreened

Eight = npt.NDArray[np.uint8]

# Longest side of the smallest view, px: a face that fills the photo is then as large as the networks expect.
OVERVIEW = 640
# Overlap of tiles, px. A larger face fits into a tile of the next scale, where it is half as large.
OVERLAP = 256
EDGE = 2  # px: a box this near to a tile's inner edge belongs to a face that the edge cuts
# Second look: a square this many times the longer side of the box, resized to this many px.
AROUND, AGAIN = 2.0, 320
# Order of the landmarks in a mirrored crop: left and right swap. The network errs to one side, so landmarks are the
# mean of a normal and a mirrored look. This halves their distance from hand-marked eyes (from 0.08 to 0.04 of the
# distance between the eyes).
MIRRORED = [1, 0, 2, 4, 3]
# The network underestimates a face's tilt: its landmarks show about two thirds of it. So the crop is turned by the
# corrected angle, at most LOOKS times, until the face is upright in it.
SEEN_TILT, LOOKS, UPRIGHT = 2 / 3, 4, math.radians(1.5)
# In a photo that lies on its side, a detector still finds a few faces, with landmarks tilted by more than this.
TILTED = math.radians(25)
# Range of luma (of 255) between the percentiles below: under the first, a faded or dark print; under the second, an
# empty page.
FULL_RANGE, EMPTY_RANGE = 128, 8
# Percentiles of a copy with this longest side, px, which averages out grain and dust. They are far out, so that a small
# print on a large page is not clipped.
SAMPLE, RANGE = 512, (0.1, 99.9)
# Fraction of the pixel budget for each of the three turns: most photos without an upright face have no face at all.
TURNED_SHARE = 0.25


@dataclass(frozen=True)
class Found:
    """The faces of a photo, best score first, and the rotation that makes them upright.

    rotation: 0, 90, 180 or 270 degrees clockwise. Boxes and landmarks are in the coordinates of the unrotated photo.
    """

    faces: list[Face]
    rotation: int = 0


def search(detector: Detector, pixels: Eight, min_face: int, most_pixels: int) -> Found:
    """Faces at least min_face px wide in a photo (H, W, 3) uint8 RGB.

    most_pixels: pixel budget of a fast detector for all views together; a slow detector gets its share of it. If the
    budget does not suffice, the photo is searched at a smaller scale, which misses its smallest faces.
    """
    seen = stretched(descreened(pixels))
    budget = most_pixels * detector.reach.share
    upright = Found(found_in(detector, seen, min_face, budget))
    if stands_upright(upright.faces, detector.reach.sure):
        return upright
    others = [turned(detector, seen, min_face, budget * TURNED_SHARE, quarters) for quarters in (1, 2, 3)]
    return max((upright, *others), key=lambda found: sum(face.score for face in found.faces))


def stands_upright(faces: list[Face], sure: float) -> bool:
    """Whether there are faces with a median score of at least `sure` and a median tilt below TILTED."""
    if not faces:
        return False
    score, tilt = np.median([(face.score, abs(face.tilt)) for face in faces], axis=0)
    return bool(score >= sure and tilt < TILTED)


def turned(detector: Detector, seen: Eight, min_face: int, budget: float, quarters: int) -> Found:
    """The faces found in the photo turned clockwise by so many quarters, in the coordinates of the unrotated photo."""
    view: Eight = np.ascontiguousarray(np.rot90(seen, -quarters))
    faces = found_in(detector, view, min_face, budget)
    sure = [face for face in faces if face.score >= detector.reach.sure]
    return Found([turned_back(face, quarters, seen.shape[1], seen.shape[0]) for face in sure], 90 * quarters)


def turned_back(face: Face, quarters: int, width: int, height: int) -> Face:
    """Map a face from a photo (width, height) turned clockwise by so many quarters back to the unrotated photo."""

    def back(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x, y = points.T
        moved = {1: (y, height - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (width - 1 - y, x)}[quarters]
        return np.stack(moved, axis=1).astype(np.float32)

    corners = back(np.array(face.box, np.float32).reshape(2, 2))
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face((x0, y0, x1, y1), back(face.landmarks), face.score)


def found_in(detector: Detector, seen: Eight, min_face: int, budget: float) -> list[Face]:
    """Faces of all views of a picture, each once, best score first, after the second look if the detector wants it."""
    hits: list[Face] = []
    for scale in scales(seen.shape[1], seen.shape[0], detector, min_face, budget):
        hits += found_at(detector, seen, scale, max(1, math.floor(min_face * scale)))
    faces = suppress(face for face in hits if face.box[2] - face.box[0] >= min_face)
    if not detector.reach.accept:
        return faces
    return suppress(again for face in faces if (again := looked_at_again(detector, seen, face)) is not None)


def scales(width: int, height: int, detector: Detector, min_face: int, budget: float) -> list[float]:
    """Scales at which a picture is searched, the largest first, each half of the one before.

    At the largest scale, a face of min_face px is as large as the detector needs; a picture that fits into one view is
    not reduced further. All smaller scales together have a third of the pixels of the largest.
    """
    reach, longest = detector.reach, max(width, height)
    scale = min(1.0, max(reach.smallest / min_face, reach.view / longest))
    scale = min(scale, math.sqrt(budget * 3 / 4 / (width * height)))
    chosen = [scale]
    while longest * chosen[-1] > OVERVIEW:
        chosen.append(chosen[-1] / 2)
    return chosen


def found_at(detector: Detector, seen: Eight, scale: float, min_face: int) -> Iterator[Face]:
    """Faces of one scale, tile by tile, in the coordinates of the picture."""
    view = np.asarray(shrink(seen, scale), np.uint8)
    height, width = view.shape[:2]
    size = detector.reach.view
    for top in starts(height, size):
        for left in starts(width, size):
            tile: Eight = np.ascontiguousarray(view[top : top + size, left : left + size])
            right, bottom = left + tile.shape[1], top + tile.shape[0]
            for face in detector.detect(tile, min_face):
                x0, y0, x1, y1 = moved = tuple(np.array(face.box) + (left, top, left, top))
                cut = (left and x0 < left + EDGE) or (top and y0 < top + EDGE)
                if not (cut or (right < width and x1 > right - EDGE) or (bottom < height and y1 > bottom - EDGE)):
                    points = ((face.landmarks + (left, top)) / scale).astype(np.float32)
                    box = (moved[0] / scale, moved[1] / scale, moved[2] / scale, moved[3] / scale)
                    yield Face(box, points, face.score)


def starts(length: int, size: int) -> list[int]:
    """Where tiles of `size` px begin along a side, evenly, overlapping by OVERLAP px or more."""
    if length <= size:
        return [0]
    overlap = min(OVERLAP, size // 2)
    count = math.ceil((length - overlap) / (size - overlap))
    return [round(start) for start in np.linspace(0, length - size, count)]


def looked_at_again(detector: Detector, seen: Eight, face: Face) -> Face | None:
    """The face with the landmarks and score of an enlarged, upright view; None if the detector sees no face there.

    Measured with YuNet's network on a group photo at full, half and quarter size: faces score 0.85 or more; other
    things (fur, galaxies, grass) score 0.68 or less, and most of them are not found again at all.
    """
    x0, y0, x1, y1 = face.box
    zoom, centre = AGAIN / (AROUND * max(x1 - x0, y1 - y0)), np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    angle = 0.0
    for _ in range(LOOKS):
        matrix = around(centre, zoom, angle)
        there = look(detector, seen, matrix)
        if there is None or abs(there.tilt) < UPRIGHT:
            break
        angle += there.tilt / SEEN_TILT
    if there is None or there.score < detector.reach.accept:
        return None
    mirrored = look(detector, seen, matrix, mirror=True)
    points = there.landmarks if mirrored is None else (there.landmarks + mirrored.landmarks) / 2
    back = alignment.invert(matrix)
    return replace(face, landmarks=(points @ back[:, :2].T + back[:, 2]).astype(np.float32), score=there.score)


def look(detector: Detector, seen: Eight, matrix: alignment.Matrix, mirror: bool = False) -> Face | None:
    """The best face in the middle of a crop of AGAIN px, in crop coordinates. mirror: search the mirrored crop."""
    view = np.rint(alignment.cut(seen, matrix, AGAIN)).clip(0, 255).astype(np.uint8)
    view = stretched(np.ascontiguousarray(view[:, ::-1]) if mirror else view)
    near = [one for one in detector.detect(view, 1) if np.abs(middle(one) - AGAIN / 2).max() < AGAIN / 8]
    best = max(near, key=lambda one: one.score, default=None)
    if best is None or not mirror:
        return best
    points = best.landmarks * (-1, 1) + (AGAIN - 1, 0)
    return replace(best, landmarks=points[MIRRORED].astype(np.float32))


def around(centre: npt.NDArray[np.float64], zoom: float, angle: float) -> alignment.Matrix:
    """The (2, 3) matrix to a crop of AGAIN px around `centre` in which a line at this angle (radians) is level."""
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return np.hstack([turn, (AGAIN / 2 - turn @ centre)[:, None]])


def middle(face: Face) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = face.box
    return np.array([x0 + x1, y0 + y1]) / 2


def stretched(pixels: Eight) -> Eight:
    """The photo (H, W, 3) as the detector gets it: the tones of a faded or dark one are spread to the whole range."""
    small = shrink(pixels, SAMPLE / max(pixels.shape[:2]))
    low, high = np.percentile(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), RANGE)
    if not EMPTY_RANGE <= high - low < FULL_RANGE:
        return pixels
    table = ((np.arange(256) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), np.uint8)
