"""A decoded photo."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.photos.bit_depth import Native
from pipeline.photos.colour_space import Space
from pipeline.photos.metadata import Metadata
from pipeline.photos.warning import PhotoWarning


@dataclass
class Photo:
    """A decoded photo, upright.

    native: (H, W, B) uint8, or uint16 over its full range, writable: the file's own channels, colours first, then
    alpha; a palette is expanded, and bilevel samples are 0 and 255. format: jpeg, png, tiff, webp, gif, avif, bmp, jp2
    or another. bit_depth: bits of each channel in the file. lossless: from a lossless WebP. orientation: EXIF's, which
    was applied, 1 to 8. extra_samples: the meaning of a TIFF's channels after the colours; with tiff_pages.ASSOCIATED
    the colours are multiplied by the channel, as in the file. warnings: faults of the file.
    """

    native: Native
    space: Space
    format: str
    bit_depth: int
    metadata: Metadata
    lossless: bool = False
    orientation: int = 1
    extra_samples: tuple[int, ...] = ()
    warnings: tuple[PhotoWarning, ...] = ()

    @property
    def width(self) -> int:
        return int(self.native.shape[1])

    @property
    def height(self) -> int:
        return int(self.native.shape[0])

    @property
    def peak(self) -> int:
        return self.space.peak

    @property
    def existing_xmp(self) -> bytes | None:
        return self.metadata.xmp

    def srgb(self) -> Native:
        """(H, W, 3) in sRGB, of native's type."""
        return self.space.to_srgb(self.native)
