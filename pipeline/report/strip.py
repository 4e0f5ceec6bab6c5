"""A before/after strip of one photo: a picture for notebooks, made in the sandbox."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.config.limits import Limits
from pipeline.faces import alignment
from pipeline.photos.pages import page_file
from pipeline.report.display_copies import Pixels, eight_bit_srgb, fitted

SIDE = 360  # px: height of the strip; two photos and some faces fit into the column of a notebook
FACES = 4  # shown, the first ones
GAP = 6  # px of white between pictures


def strip(before: bytes, page: int, after: bytes | None, landmarks: list[list[list[float]]], limits: Limits) -> bytes:
    """A PNG: the photo before and after, then its first faces, each before above after.

    before: the member. page: of the member, from 1. after: the restored photo, or None. landmarks: of each face, (5, 2)
    px in the photo before. Raises PhotoError.
    """
    source = eight_bit_srgb(page_file(before, page, limits), limits)
    pictures = [high(source)]
    if after is not None:
        restored = eight_bit_srgb(after, limits)
        pictures += [high(restored), *(pair(source, restored, np.array(one)) for one in landmarks[:FACES])]
    _, png = cv2.imencode(".png", beside(pictures)[..., ::-1])
    return png.tobytes()


def high(pixels: Pixels) -> Pixels:
    """The picture, no larger than SIDE, on white as high as the strip."""
    small = fitted(pixels, SIDE)
    below = ((0, SIDE - len(small)), (0, 0), (0, 0))
    return np.pad(small, below, constant_values=255)


def pair(source: Pixels, restored: Pixels, points: np.ndarray) -> Pixels:
    """One face from both photos, cut out in the same way; the restored photo may be larger than its source."""
    side, scale = (SIDE - GAP) // 2, restored.shape[1] / source.shape[1]
    larger = (points + 0.5) * scale - 0.5  # pixel centres
    cut = [alignment.align(source, points, side)[0], alignment.align(restored, larger, side)[0]]
    return np.concatenate([cut[0], np.full((GAP, side, 3), 255, np.uint8), cut[1]])


def beside(pictures: list[Pixels]) -> Pixels:
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for one in pictures for part in (one, gap)][:-1], axis=1)
