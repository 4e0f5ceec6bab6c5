"""Halftone prints are told from photos, and only the detector's copy is smoothed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from jobs.benchmark.detect import portraits
from pipeline.benchmark.detect import enlarged, printed
from pipeline.faces.screen import Eight, descreened, screen_period

PRINT = enlarged(portraits(), 2)


def scanned(dots: Eight, period: float) -> Eight:
    """A blurred, noisy, grey scan, as a JPEG of quality 60."""
    noise = np.random.default_rng(0).normal(0, 12, dots.shape)
    soft = cv2.GaussianBlur(dots, (0, 0), period / 6) * 0.6 + 40 + noise
    _, data = cv2.imencode(".jpg", soft.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("period", [2.2, 3, 5, 8, 12])
def test_the_distance_of_the_dots(period: float) -> None:
    dots = printed(PRINT, period).pixels
    assert screen_period(dots) == pytest.approx(period, rel=0.02)
    assert screen_period(scanned(dots, period)) == pytest.approx(period, rel=0.02)


@pytest.mark.parametrize("name", ["astronaut", "brick", "grass", "page", "text", "coins"])
@pytest.mark.parametrize("quality", [10, 90])
def test_photos_and_textures_have_none(name: str, quality: int) -> None:
    """Nor have the squares of a strong JPEG."""
    _, data = cv2.imencode(".jpg", getattr(skimage.data, name)(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    assert screen_period(pixels) is None
    assert descreened(pixels) is pixels


def test_a_print_on_a_larger_page() -> None:
    page = np.full((1600, 2400, 3), 230, np.uint8)
    assert screen_period(page) is None
    dots = printed(PRINT, 4).pixels
    page[300 : 300 + dots.shape[0], 400 : 400 + dots.shape[1]] = dots
    assert screen_period(page) == pytest.approx(4, rel=0.02)
