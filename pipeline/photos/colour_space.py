"""Convert a photo's own channels to sRGB and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from pipeline.photos.bit_depth import Floats, Native
from pipeline.photos.monochrome import LUMA

# Bytes 16 to 19 of an ICC profile name its channels (ICC.1:2022, 7.2.6).
SIGNATURES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
# The number of colour channels of libvips' interpretations, and their names at 16 bits.
COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "rgb": 3, "cmyk": 4}
DEEP = {"b-w": "grey16", "srgb": "rgb16", "cmyk": "cmyk"}
NAMES = {1: "b-w", 3: "srgb", 4: "cmyk"}
INTENT = {"intent": "relative", "black_point_compensation": True}


@dataclass(frozen=True)
class Space:
    """The meaning of a photo's channels.

    colours: 1 grey, 3 RGB or 4 CMYK, without alpha. peak: highest sample, 255 or 65535. profile: its ICC profile, kept
    in the output, and used if it fits the channels and converts both ways. Without a usable profile, RGB is sRGB, grey
    is luma and CMYK uses libvips' own profile.
    """

    colours: int
    peak: int
    profile: bytes | None = None

    def to_srgb(self, native: Native) -> Native:
        """(h, w, colours or more) samples of the photo to (h, w, 3) sRGB of the same type. Through a profile: relative
        colorimetric with black point compensation."""
        if self._same:
            return native[..., :3]
        if self.colours == 1 and not self._converts:
            return np.repeat(native[..., :1], 3, axis=2)
        image = self._image(native)
        deep = image.icc_transform("srgb", **self._source, **INTENT, depth=16)
        return array(deep if native.dtype == np.uint16 else (deep / 257).rint().cast("uchar"))

    def from_srgb(self, srgb: Native) -> Floats:
        """(h, w, 3) sRGB, uint8 or uint16, to (h, w, colours) in 0 to peak, not rounded."""
        scale = np.float32(self.peak / np.iinfo(srgb.dtype).max)
        if self._same:
            return srgb * scale
        if self.colours == 1 and not self._converts:
            return (srgb @ (LUMA * scale))[..., None]
        image = pyvips.Image.new_from_array(np.ascontiguousarray(srgb))
        image = image.copy(interpretation="srgb" if srgb.dtype == np.uint8 else "rgb16")
        connection = image.icc_import(input_profile="srgb", **INTENT)
        target = {} if self._converts else {"output_profile": "cmyk"}
        if self._converts:
            connection = _with_profile(connection, self.profile)
        return array(connection.icc_export(**target, **INTENT, depth=16)) * np.float32(self.peak / 65535)

    @cached_property
    def _converts(self) -> bool:
        """Whether the profile fits the channels and converts both ways; a scanner's or a damaged one may not."""
        fits = self.profile is not None and self.profile[16:20] == SIGNATURES[self.colours]
        return fits and _both_ways(self)

    @cached_property
    def _same(self) -> bool:
        """Whether the samples equal sRGB, to the nearest 8-bit level."""
        return self.colours == 3 and (not self._converts or _is_srgb(self))

    @property
    def _source(self) -> dict[str, Any]:
        return {"embedded": True} if self._converts else {"input_profile": "cmyk"}

    def _image(self, native: Native) -> pyvips.Image:
        image = pyvips.Image.new_from_array(native).extract_band(0, n=self.colours)
        name = NAMES[self.colours]
        image = image.copy(interpretation=name if native.dtype == np.uint8 else DEEP[name])
        return _with_profile(image, self.profile) if self._converts else image


def _lattice(colours: int) -> npt.NDArray[np.uint8]:
    """Test colours (n, 1, colours): the corners of the space and a few steps between them."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    return np.stack(np.meshgrid(*[steps] * colours), -1).reshape(-1, 1, colours)


def _both_ways(space: Space) -> bool:
    image = pyvips.Image.new_from_array(_lattice(space.colours)).copy(interpretation=NAMES[space.colours])
    try:
        connection = _with_profile(image, space.profile).icc_import(embedded=True, **INTENT)
        if connection.get("icc-profile-data") != space.profile:  # libvips used its own profile instead
            return False
        back = _with_profile(connection, space.profile).icc_export(**INTENT, depth=16)
        return array(back).shape[2] == space.colours
    except pyvips.Error:
        return False


def _is_srgb(space: Space) -> bool:
    lattice = _lattice(3)
    image = _with_profile(pyvips.Image.new_from_array(lattice).copy(interpretation="srgb"), space.profile)
    moved = array(image.icc_transform("srgb", embedded=True, **INTENT, depth=16)) / 257.0 - lattice
    return bool(np.abs(moved).max() < 1)


def _with_profile(image: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def array(image: pyvips.Image) -> Native:
    """(H, W, B) of an image, writable."""
    pixels: Native = image.numpy()
    return pixels.reshape(image.height, image.width, image.bands)
