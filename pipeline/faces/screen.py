"""The dots of a halftone print: seen in the spectrum, and smoothed in the detector's copy of a photo."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Eight = npt.NDArray[np.uint8]

# Squares of this side, px, in a grid over the photo; a screen counts if a third of them show it: a print may be a part
# of its page.
WINDOW, GRID, SHARE = 512, 3, 1 / 3
PERIODS = (2.0, 14.0)  # px from dot to dot: finer ones are beyond the pixels, coarser ones hide a face from anybody
# A screen's dots repeat in two directions at a right angle, with the same strength. Measured: peak over the median of
# its frequency 92 to 191 for screens of 2.5 to 8 px, its partner 0.98 of it or more; 16 photos and textures 30 or less
# with a partner of 0.41 or less, or 13 or less.
PEAK, PARTNER = 50.0, 0.7
# Deviation of the Gaussian, as a share of the period: it leaves a fiftieth of the dots. 0.45 was best of 0.35 to 0.8.
SMOOTH = 0.45


def descreened(pixels: Eight) -> Eight:
    """The photo (H, W, 3) as the detector gets it: without the dots of a halftone print, if it has any."""
    period = screen_period(pixels)
    if period is None:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), SMOOTH * period), np.uint8)


def screen_period(pixels: Eight) -> float | None:
    """The distance of the dots of a halftone print (H, W, 3), px; None for a photo without a screen."""
    found = [period_in(np.asarray(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY), np.uint8)) for window in windows(pixels)]
    seen = [period for period in found if period is not None]
    return float(np.median(seen)) if len(seen) >= max(1.0, SHARE * len(found)) else None


def windows(pixels: Eight) -> list[Eight]:
    """Squares of at most WINDOW px: the whole of a small photo, else GRID x GRID of them."""
    side = min(WINDOW, *pixels.shape[:2])
    tops, lefts = (
        np.unique(np.linspace(0, length - side, GRID).round().astype(int)).tolist() for length in pixels.shape[:2]
    )
    return [pixels[top : top + side, left : left + side] for top in tops for left in lefts]


def period_in(grey: Eight) -> float | None:
    """The period of the dots in a square (S, S), px; None without a screen."""
    side = len(grey)
    if side < 8 * PERIODS[1]:  # too few dots to tell
        return None
    fade = np.hanning(side).astype(np.float32)
    spectrum = np.abs(np.fft.fft2((grey - grey.mean(dtype=np.float32)) * fade * fade[:, None]))
    across = np.fft.fftfreq(side)
    frequency = np.hypot(across[:, None], across)
    inside = (frequency > 1 / PERIODS[1]) & (frequency < 1 / PERIODS[0])
    row, column = np.unravel_index(np.argmax(np.where(inside, spectrum, 0)), spectrum.shape)
    peak, at = spectrum[row, column], frequency[row, column]
    usual = np.median(spectrum[np.abs(frequency - at) < 4 / side])
    # A quarter turn: (u, v) -> (-v, u). Within two cells of the spectrum, as paper shrinks more one way.
    cells = np.arange(-2, 3)
    partner = spectrum[np.ix_((column + cells) % side, (-row + cells) % side)].max()
    return float(1 / at) if peak > 0 and peak >= PEAK * usual and partner >= PARTNER * peak else None
