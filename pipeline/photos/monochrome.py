"""Monochrome and toned photos: recognise them. `interlcm.color_fix.keep_tone` keeps their tone in restored faces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.photos.bit_depth import Floats, Native

# ITU-R BT.601 luma, as JPEG uses it. The weights sum to 1, so equal channels come out unchanged.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# A picture has one tone if 95 % of the pixels of a small copy have a chroma this near, in CIELAB units, to the mean
# chroma of their lightness. Measured: grey 0.0 to 0.1; sepia, evenly and unevenly faded, 0.8 to 3.9; the same with
# noise (sigma 10 in each channel) or as JPEG of quality 30, 2.4 to 5.0; colour photos 8.8 (a retina) to 36, a cat 16,
# the coloured Solvay photo 13; colour photos faded to a fifth of their chroma 3.1 to 6.6, to a tenth 1.7 to 3.3.
ONE_TONE = 5.0
# The same for a face in a photo of one tone, whose noise a small face has to itself. Measured on crops of faces, 26 to
# 147 px wide: grey or sepia with the same noise 4.1 to 7.9 where the whole photo is below ONE_TONE, grey or sepia alone
# 0.0 to 2.0, in colour 10.7 and more, faded to half of their chroma 5.4 and more.
ONE_TONE_FACE = 10.0
# Longer side of the small copy, px: noise and JPEG's blocks average out in it, colours of objects stay.
SMALL = 64
LEVELS = 64  # of lightness, at which a tone's chroma is measured


def is_monochrome(srgb: Native, most: float = ONE_TONE) -> bool:
    """Whether a picture is grey or has one tone, such as sepia: (H, W, 3) uint8 or uint16 sRGB. most: see ONE_TONE.

    One tone means that the lightness determines the chroma, as in a toned print, up to the noise of scanning and of
    JPEG's chroma. Colour on less than a twentieth of the picture (a stamp, a signature) does not count.
    """
    share = min(1.0, SMALL / max(srgb.shape[:2]))
    side = (max(1, round(srgb.shape[1] * share)), max(1, round(srgb.shape[0] * share)))
    small = cv2.resize(srgb, side, interpolation=cv2.INTER_AREA).astype(np.float32) / np.iinfo(srgb.dtype).max
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    chroma = lab[..., 1:].reshape(-1, 2)
    level = lab[..., 0].ravel() / 100
    rest = np.linalg.norm(chroma - _curve(level, chroma, level), axis=1)
    return bool(np.percentile(rest, 95) < most)


def is_monochrome_face(crop: Native, in_monochrome: bool) -> bool:
    """Whether an aligned face has one tone, which its own pixels decide: a grey print may lie on a coloured page, and a
    coloured one on a grey page. in_monochrome: whether its photo as a whole has one tone."""
    return is_monochrome(crop, ONE_TONE_FACE if in_monochrome else ONE_TONE)


def _curve(level: Floats, chroma: Floats, at: Floats) -> Floats:
    """The mean chroma (n, c) at each level (n,) in 0 to 1, smoothed, evaluated at the levels `at` (any shape)."""
    bins = (level * LEVELS).astype(int).clip(0, LEVELS - 1)
    window = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)

    def smoothed(weights: Floats | None) -> npt.NDArray[Any]:
        return np.convolve(np.bincount(bins, weights, LEVELS), window, "same")

    count = smoothed(None)
    seen = count > 1e-3
    middles = (np.arange(LEVELS) + 0.5)[seen] / LEVELS
    columns = [np.interp(at, middles, smoothed(one)[seen] / count[seen]) for one in chroma.T]
    return np.stack(columns, -1).astype(np.float32)
