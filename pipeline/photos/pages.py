"""Find the pictures of a file that are photos, and extract one of them as a separate file."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.config.limits import Limits
from pipeline.photos import tiff, tiff_pages
from pipeline.photos.bit_depth import eight_bit
from pipeline.photos.decode import LIMITS, decode, refuse_raw
from pipeline.photos.diagnosis import diagnose
from pipeline.photos.errors import PhotoError
from pipeline.photos.warning import PhotoWarning

# Two pictures are compared at this size, px, where neither grain nor a program's way of shrinking matters. The same
# picture correlates by more than 0.99 there; two pages of one book, with the same margins, by less than 0.95.
SIDE, CORRELATION = 128, 0.98
FLAT = 2.0  # standard deviation, of 255, below which a picture is too flat to correlate


def pages(data: bytes, limits: Limits = LIMITS) -> list[int]:
    """The pages of a file that are photos, from 0, as `extract` takes them; [0] for all formats except TIFF.

    Reduced copies of another picture (a scanner's thumbnail, a pyramid's levels) and masks are left out. Raises
    PhotoError.
    """
    if not tiff.is_tiff(data):
        return [0]
    refuse_raw(data)
    try:
        if len(tiff.Tiff(data).chain(limits.pages + 1)) > limits.pages:
            raise PhotoError("too_many_pages", f"the tiff file has more pages than the limit of {limits.pages}")
        sizes = tiff_pages.pictures(data, limits.pages)
        check_together(sum(width * height for width, height in sizes.values()), limits)
        return _without_levels(data, sizes, limits)
    except ValueError as error:
        raise PhotoError(*diagnose(data, str(error))) from error


def check_together(pixels: int, limits: Limits) -> None:
    """Raises PhotoError for too many pixels of all pages together."""
    if pixels > limits.member_pixels:
        words = f"its pages have {pixels} px together, more than the limit of {limits.member_pixels} (member_pixels)"
        raise PhotoError("too_large", words)


def _without_levels(data: bytes, sizes: dict[int, tuple[int, int]], limits: Limits) -> list[int]:
    """The pictures that are not a half-size copy of the one before: ImageMagick marks a pyramid's levels as pages."""
    found: list[int] = []
    before, seen = -1, None  # the previous picture, and its pixels if they were decoded
    for n, size in sizes.items():
        now = None
        if before >= 0 and tiff_pages.halved(size, sizes[before]):
            seen = _seen(data, before, limits) if seen is None else seen
            now = _seen(data, n, limits)
        if now is None or seen is None or not _same(now, seen):
            found.append(n)
        before, seen = n, now
    return found


def _seen(data: bytes, page: int, limits: Limits) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) sRGB of a page; None if it does not decode, which its row will report."""
    try:
        return eight_bit(decode(extract(data, page), limits).srgb())
    except PhotoError:
        return None


def _same(small: npt.NDArray[np.uint8], large: npt.NDArray[np.uint8]) -> bool:
    scale = min(1.0, SIDE / max(small.shape))
    size = (max(1, round(small.shape[1] * scale)), max(1, round(small.shape[0] * scale)))
    one, other = (cv2.resize(each, size, interpolation=cv2.INTER_AREA).astype(float) for each in (small, large))
    if min(one.std(), other.std()) < FLAT:
        return bool(np.abs(one - other).mean() < FLAT)
    return bool(np.corrcoef(one.ravel(), other.ravel())[0, 1] > CORRELATION)


def page_file(data: bytes, page: int, limits: Limits) -> bytes:
    """A photo of a member as a file of its own. page: of the member, from 1. Raises PhotoError."""
    found = pages(data, limits)
    return data if found == [0] else extract(data, found[page - 1])


def extract(data: bytes, page: int) -> bytes:
    """One page of a TIFF as a TIFF of its own: the same compressed pixels and fields. Raises PhotoError."""
    try:
        return tiff_pages.extract(data, page)
    except ValueError as error:
        raise PhotoError(*diagnose(data, str(error))) from error


def left_behind(data: bytes, limits: Limits) -> tuple[PhotoWarning, ...]:
    """A warning if a TIFF with one photo also has masks."""
    masks = tiff_pages.masks(data, limits.pages) if tiff.is_tiff(data) else 0
    return (PhotoWarning("not_carried", "not carried over: a mask, in a separate page"),) if masks else ()
