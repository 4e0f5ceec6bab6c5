"""Search a photo of any size for faces: without halftone dots, contrast stretched, in tiles, at several scales, turned.

A detector takes one picture at one scale. Its `Reach` says how a photo is scaled and tiled for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
# Quarters of a turn, and the fraction of the pixel budget for each: most photos without an upright face have no face at
# all.
TURNS, TURNED_SHARE = (1, 2, 3), 0.25


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
    upright, sure = Found(next(found_in(detector, seen, min_face, budget))), detector.reach.sure
    if stands_upright(upright.faces, sure):
        return upright
    others = [
        Found([turned_back(face, quarters, *seen.shape[1::-1]) for face in faces if face.score >= sure], 90 * quarters)
        for quarters, faces in zip(TURNS, found_in(detector, seen, min_face, budget * TURNED_SHARE, TURNS), strict=True)
    ]
    return max((upright, *others), key=lambda found: sum(face.score for face in found.faces))


def stands_upright(faces: list[Face], sure: float) -> bool:
    """Whether there are faces with a median score of at least `sure` and a median tilt below TILTED."""
    if not faces:
        return False
    score, tilt = np.median([(face.score, abs(face.tilt)) for face in faces], axis=0)
    return bool(score >= sure and tilt < TILTED)


def turned(picture: Eight, quarters: int) -> Eight:
    """The picture turned clockwise by so many quarters."""
    return np.ascontiguousarray(np.rot90(picture, -quarters))


def turned_back(face: Face, quarters: int, width: int, height: int) -> Face:
    """Map a face from a photo (width, height) turned clockwise by so many quarters back to the unrotated photo."""

    def back(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x, y = points.T
        moved = {1: (y, height - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (width - 1 - y, x)}[quarters]
        return np.stack(moved, axis=1).astype(np.float32)

    corners = back(np.array(face.box, np.float32).reshape(2, 2))
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face((x0, y0, x1, y1), back(face.landmarks), face.score)


def found_in(
    detector: Detector, seen: Eight, min_face: int, budget: float, turns: Sequence[int] = (0,)
) -> Iterator[list[Face]]:
    """For each of `turns`, the faces of the picture turned clockwise by so many quarters, in the turned picture.

    Each face comes once, best score first, after the second look if the detector wants it. budget: pixels of all views
    of one turn.
    """
    hits: list[list[Face]] = [[] for _ in turns]
    for scale in scales(seen.shape[1], seen.shape[0], detector, min_face, budget):
        view = np.asarray(shrink(seen, scale), np.uint8)
        found = found_at(detector, [turned(view, n) for n in turns], max(1, math.floor(min_face * scale)))
        for known, faces in zip(hits, found, strict=True):
            known += [moved(face, zoom=1 / scale) for face in faces]
    for quarters, known in zip(turns, hits, strict=True):
        faces = suppress(face for face in known if face.width >= min_face)
        if faces and detector.reach.accept:
            picture = turned(seen, quarters)
            looks = (looked_at_again(detector, picture, face) for face in faces)
            faces = suppress(face for face in looks if face is not None)
        yield faces


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


def found_at(detector: Detector, pictures: Sequence[Eight], min_face: int) -> list[list[Face]]:
    """The faces of each picture (H, W, 3) at this one scale, in its coordinates. The detector gets all their tiles
    together."""
    size = detector.reach.view
    tiles = [
        (n, (left, top, right, bottom))
        for n, picture in enumerate(pictures)
        for top, bottom in spans(picture.shape[0], size)
        for left, right in spans(picture.shape[1], size)
    ]
    views = [pictures[n][top:bottom, left:right] for n, (left, top, right, bottom) in tiles]
    found: list[list[Face]] = [[] for _ in pictures]
    for (n, tile), faces in zip(tiles, detector.detect(views, min_face), strict=True):
        height, width = pictures[n].shape[:2]
        there = [moved(face, *tile[:2]) for face in faces]
        found[n] += [face for face in there if not is_cut(face, tile, width, height)]
    return found


def is_cut(face: Face, tile: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Whether an inner edge of the tile (x0, y0, x1, y1) of a picture (width, height) cuts the face."""
    (x0, y0, x1, y1), (left, top, right, bottom) = face.box, tile
    before = (left and x0 < left + EDGE) or (top and y0 < top + EDGE)
    return bool(before or (right < width and x1 > right - EDGE) or (bottom < height and y1 > bottom - EDGE))


def moved(face: Face, left: float = 0, top: float = 0, zoom: float = 1) -> Face:
    """The face moved by so many px, then enlarged with its picture."""
    x0, y0, x1, y1 = face.box
    box = (x0 + left) * zoom, (y0 + top) * zoom, (x1 + left) * zoom, (y1 + top) * zoom
    return Face(box, ((face.landmarks + (left, top)) * zoom).astype(np.float32), face.score)


def spans(length: int, size: int) -> list[tuple[int, int]]:
    """Start and end of tiles along a side: as few as suffice with at most `size` px each and OVERLAP px in common, and
    then as short as possible, all of one length."""
    if length <= size:
        return [(0, length)]
    overlap = min(OVERLAP, size // 2)
    count = math.ceil((length - overlap) / (size - overlap))
    each = math.ceil((length + (count - 1) * overlap) / count)
    return [(round(start), round(start) + each) for start in np.linspace(0, length - each, count)]


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
    (hits,) = detector.detect([view], 1)
    near = [one for one in hits if np.abs(middle(one) - AGAIN / 2).max() < AGAIN / 8]
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
