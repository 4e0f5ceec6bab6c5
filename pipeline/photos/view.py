"""The sandbox's part of the detect stage: untrusted bytes to properties and sRGB pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.limits import Limits
from pipeline.photos import decode as photo_decoder
from pipeline.photos import monochrome as photos_monochrome
from pipeline.photos import pages as photo_pages
from pipeline.photos.warning import PhotoWarning


@dataclass
class View:
    """A decoded photo, upright, or the list of its pages.

    pages: numbers of the pictures in the file, as `pages.extract` takes them. If there is one, the other fields
    describe it; if there are several, they are empty, and each page is decoded separately.
    srgb: (H, W, 3) uint8, or uint16 if bit_depth > 8. width and height: px, after the EXIF orientation.
    """

    pages: list[int]
    format: str = ""
    width: int = 0
    height: int = 0
    bit_depth: int = 8
    monochrome: bool = False
    warnings: tuple[PhotoWarning, ...] = ()
    srgb: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None


def view_of(data: bytes, limits: Limits) -> View:
    """Decode a member. Raises PhotoError."""
    pages = photo_pages.pages(data, limits) if data else [0]
    if len(pages) > 1:
        return View(pages)
    # If the only picture of a TIFF is not in its first directory, it is extracted like one page of many.
    decoded = photo_decoder.decode(data if pages == [0] else photo_pages.extract(data, pages[0]), limits)
    srgb = decoded.srgb()
    return View(
        pages=pages,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        bit_depth=decoded.bit_depth,
        monochrome=photos_monochrome.is_monochrome(srgb),
        warnings=(*decoded.warnings, *photo_pages.left_behind(data, limits)),
        srgb=srgb,
    )
