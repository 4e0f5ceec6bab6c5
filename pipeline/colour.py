"""The colours of a photo's own channels in sRGB and back, and photos of one tone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyvips

Native = npt.NDArray[Any]  # uint8 or uint16
Floats = npt.NDArray[Any]  # float32

# ITU-R BT.601 luma, as JPEG uses it. The weights sum to 1, so equal channels come out unchanged.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# An ICC profile says in bytes 16 to 19 which channels it is for (ICC.1:2022, 7.2.6).
SIGNATURES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
# How many colour channels libvips' interpretations have, and what it calls them at 16 bits.
COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "rgb": 3, "cmyk": 4}
DEEP = {"b-w": "grey16", "srgb": "rgb16", "cmyk": "cmyk"}
NAMES = {1: "b-w", 3: "srgb", 4: "cmyk"}
INTENT = {"intent": "relative", "black_point_compensation": True}

# A picture is of one tone when 95 % of a small copy have a chroma that is this near, in units of CIELAB, to the chroma
# that goes with their lightness. Measured: grey 0.0 to 0.1; sepia, evenly and unevenly faded, 0.8 to 3.9; the same with
# noise (sigma 10 in each channel) or as JPEG of quality 30, 2.4 to 5.0; colour photos 8.8 (a retina) to 36, a cat 16,
# the coloured Solvay photo 13; colour photos faded to a fifth of their chroma 3.1 to 6.6, to a tenth 1.7 to 3.3.
ONE_TONE = 5.0
# Pixels, of the small copy's longer side: noise and JPEG's blocks average out in it, colours of things stay.
SMALL = 64
LEVELS = 64  # of lightness, at which a tone's chroma is measured


@dataclass(frozen=True)
class Space:
    """What a photo's channels mean.

    colours: 1 grey, 3 RGB or 4 CMYK; alpha comes on top. peak: 255 or 65535, of the photo's samples. profile: its ICC
    profile, used where it fits the channels and converts both ways, carried along in any case. Without one RGB is
    sRGB, grey is luma and CMYK is what libvips has a profile for.
    """

    colours: int
    peak: int
    profile: bytes | None = None

    def to_srgb(self, native: Native) -> Native:
        """(h, w, colours or more) of the photo's samples to (h, w, 3) sRGB of the same type. ICC: relative
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
        """Whether the profile fits the channels and works both ways; a scanner's or a damaged one may not."""
        fits = self.profile is not None and self.profile[16:20] == SIGNATURES[self.colours]
        return fits and _both_ways(self)

    @cached_property
    def _same(self) -> bool:
        """Whether these are the numbers of sRGB, to the nearest 8-bit level."""
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
    """(n, 1, colours): the corners and a few steps between them."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    return np.stack(np.meshgrid(*[steps] * colours), -1).reshape(-1, 1, colours)


def _both_ways(space: Space) -> bool:
    image = pyvips.Image.new_from_array(_lattice(space.colours)).copy(interpretation=NAMES[space.colours])
    try:
        connection = _with_profile(image, space.profile).icc_import(embedded=True, **INTENT)
        if connection.get("icc-profile-data") != space.profile:  # libvips took one of its own instead
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


def eight_bit(native: Native) -> Native:
    """The same in uint8, rounded."""
    if native.dtype == np.uint8:
        return native
    return np.rint(np.arange(65536) / 257).astype(np.uint8)[native]


def levels(native: Native, bits: int) -> Native:
    """uint16 samples rounded to this many bits, in the upper ones, as libvips writes AVIF."""
    table = np.rint(np.arange(65536) * ((1 << bits) - 1) / 65535).astype(np.uint16) << (16 - bits)
    return table[native]


def full_range(native: Native, bits: int, shift: int = 0) -> Native:
    """Samples of 9 to 16 bits, standing `shift` bits to the left, over all of uint16: an exact way in for `levels`."""
    table = np.rint((np.arange(65536) >> shift).clip(0, (1 << bits) - 1) * (65535 / ((1 << bits) - 1)))
    return table.astype(np.uint16)[native]


def is_monochrome(srgb: Native) -> bool:
    """Whether a picture is grey or of one tone, as sepia: (H, W, 3) uint8 or uint16 sRGB.

    One tone means that the chroma follows from the lightness, as it does in a toned print: one colour for each
    lightness, with the noise of scanning and of JPEG's chroma around it. Colour on less than a twentieth of the picture
    (a stamp, a signature) does not count.
    """
    share = min(1.0, SMALL / max(srgb.shape[:2]))
    side = (max(1, round(srgb.shape[1] * share)), max(1, round(srgb.shape[0] * share)))
    small = cv2.resize(srgb, side, interpolation=cv2.INTER_AREA).astype(np.float32) / np.iinfo(srgb.dtype).max
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    chroma = lab[..., 1:].reshape(-1, 2)
    level = lab[..., 0].ravel() / 100
    rest = np.linalg.norm(chroma - _curve(level, chroma, level), axis=1)
    return bool(np.percentile(rest, 95) < ONE_TONE)


def keep_tone(restored: Native, aligned: Native) -> Native:
    """The restored crop's luma in the tone of the aligned crop: both (S, S, 3) sRGB of one type, uint8 or uint16.

    The tone is the mean chroma of the aligned crop at each luma, so a grey crop gives exactly grey.
    """
    peak = np.iinfo(restored.dtype).max
    luma, aligned_luma = restored @ LUMA, aligned @ LUMA
    chroma = (aligned - aligned_luma[..., None]).reshape(-1, 3)
    toned = luma[..., None] + _curve(aligned_luma.ravel() / peak, chroma, luma / peak)
    return np.rint(toned).clip(0, peak).astype(restored.dtype)


def _curve(level: Floats, chroma: Floats, at: Floats) -> Floats:
    """The mean chroma (n, c) at each level (n,) in 0 to 1, smoothed, read off at the levels `at` (any shape)."""
    bins = (level * LEVELS).astype(int).clip(0, LEVELS - 1)
    window = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)

    def smoothed(weights: Floats | None) -> npt.NDArray[Any]:
        return np.convolve(np.bincount(bins, weights, LEVELS), window, "same")

    count = smoothed(None)
    seen = count > 1e-3
    middles = (np.arange(LEVELS) + 0.5)[seen] / LEVELS
    columns = [np.interp(at, middles, smoothed(one)[seen] / count[seen]) for one in chroma.T]
    return np.stack(columns, -1).astype(np.float32)
