"""Detectors compared: which faces each finds in the same scene, upright, tilted, turned, small, faded and many."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.faces.face import Detector, Face
from pipeline.faces.search import search

MIN_FACE = 8  # px; the smallest scene has faces of 11
COLUMNS = 4
FADED = 0.12  # of the contrast, or of the brightness


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 RGB and its eyes (N, 2, 2): left and right in the face's own upright view, x and y."""

    pixels: npt.NDArray[np.uint8]
    eyes: npt.NDArray[np.float64]


def together(portraits: Sequence[Scene], others: Sequence[npt.NDArray[np.uint8]], side: int, rows: int) -> Scene:
    """Portraits with one face each in a grid of squares of `side` px, a picture without a face at each row's end."""
    lines, eyes = [], []
    for row in range(rows):
        line = []
        for column in range(COLUMNS):
            one = portraits[(row + column) % len(portraits)]
            zoom = side / one.pixels.shape[1]
            line.append(square(one.pixels, side))
            eyes.append(one.eyes[0] * zoom + (column * side, row * side))
        lines.append(np.concatenate([*line, square(others[row % len(others)], side)], axis=1))
    return Scene(np.concatenate(lines), np.array(eyes))


def square(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The top of a picture, `side` px square."""
    width = min(pixels.shape[:2])
    return np.asarray(cv2.resize(pixels[:width, :width], (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def cases(scene: Scene) -> dict[str, Scene]:
    """The scene as it is, and in the ways in which archives have it."""
    pixels = scene.pixels.astype(np.float32)
    return {
        "upright": scene,
        **{f"tilted {angle} degrees": moved(scene, angle, 1) for angle in (15, 30)},
        **{f"turned {angle} degrees": moved(scene, angle, 1) for angle in (90, 180)},
        "half size": moved(scene, 0, 0.5),
        "quarter size": moved(scene, 0, 0.25),
        "12% contrast": Scene(np.rint((pixels - 128) * FADED + 128).astype(np.uint8), scene.eyes),
        "12% brightness": Scene(np.rint(pixels * FADED).astype(np.uint8), scene.eyes),
        "halftone, dots every 3 px": printed(scene, 3),
        "halftone, dots every 8 px, twice the size": printed(enlarged(scene, 2), 8),
        "3 x 3 of it": repeated(scene, 3),
    }


def moved(scene: Scene, degrees: float, zoom: float) -> Scene:
    """The whole scene, turned counterclockwise and reduced."""
    small = cv2.resize(scene.pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(width * cosine + height * sine), round(width * sine + height * cosine)
    matrix[:, 2] += (np.array(size) - (width, height)) / 2
    turned = cv2.warpAffine(small, matrix, size, flags=cv2.INTER_LINEAR)
    return Scene(np.asarray(turned, np.uint8), scene.eyes * zoom @ matrix[:, :2].T + matrix[:, 2])


def enlarged(scene: Scene, zoom: float) -> Scene:
    large = cv2.resize(scene.pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    return Scene(np.asarray(large, np.uint8), scene.eyes * zoom)


def printed(scene: Scene, period: float) -> Scene:
    """The scene as a black and white print: a screen of dots at 45 degrees, `period` px apart."""
    grey = cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2GRAY) / 255
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]] * (2 * np.pi / (period * 2**0.5))
    screen = (2 + np.cos(x + y) + np.cos(x - y)) / 4
    dots = np.where(grey > screen, 255, 0).astype(np.uint8)
    return Scene(np.repeat(dots[..., None], 3, axis=2), scene.eyes)


def repeated(scene: Scene, times: int) -> Scene:
    height, width = scene.pixels.shape[:2]
    places = [(x * width, y * height) for y in range(times) for x in range(times)]
    return Scene(np.tile(scene.pixels, (times, times, 1)), np.concatenate([scene.eyes + place for place in places]))


def measure(detector: Detector, scene: Scene, most_pixels: int) -> dict[str, Any]:
    """How many faces there are and are found, what is found beside them, and how far the eyes are off."""
    begun = time.process_time()  # of all threads, and whatever else the machine does
    faces = search(detector, scene.pixels, MIN_FACE, most_pixels).faces
    seconds = time.process_time() - begun
    owners = [next((face for face in faces if holds(face, eyes.mean(axis=0))), None) for eyes in scene.eyes]
    false = [face for face in faces if not any(holds(face, eyes.mean(axis=0)) for eyes in scene.eyes)]
    off = [
        float(np.hypot(*(face.landmarks[:2] - eyes).T).mean() / np.hypot(*(eyes[1] - eyes[0])))
        for face, eyes in zip(owners, scene.eyes, strict=True)
        if face is not None
    ]
    return {
        "faces": len(scene.eyes),
        "found": len(off),
        "false": len(false),
        "eyes off (eye distances)": float(np.mean(off)) if off else None,
        "CPU seconds": seconds,
    }


def holds(face: Face, point: npt.NDArray[np.float64]) -> bool:
    x0, y0, x1, y1 = face.box
    return bool(x0 <= point[0] <= x1 and y0 <= point[1] <= y1)
