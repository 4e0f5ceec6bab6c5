"""Bytes to a photo and back (libvips; OpenCV for BMP, which libvips leaves to ImageMagick).

A photo is recognised by its content, never by its name. Its pixels are device RGB, 8 bits: an embedded ICC
profile is not applied but carried along, so pixels that nothing touches come out as they went in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyvips

from pipeline.diagnosis import diagnose, is_bmp, only_copies_follow

Pixels = npt.NDArray[np.uint8]

# libvips' loader class for each format that counts as a photo. It could open more (SVG, PDF, its own dumps):
# the rest stays blocked, because members are untrusted and those formats can name other files or run for
# ever.
LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "tiff": "VipsForeignLoadTiff",
    "webp": "VipsForeignLoadWebp",
    "gif": "VipsForeignLoadNsgif",
    "heif": "VipsForeignLoadHeif",
    "jp2k": "VipsForeignLoadJp2k",
    "jxl": "VipsForeignLoadJxl",
}
# The formats `encode` writes and the file extension (without dot) of each. Photos in other formats are
# written as png.
EXTENSIONS = {"jpeg": "jpg", "png": "png", "tiff": "tif", "webp": "webp"}

# 16384 x 16384: an A3 page at 1000 dpi fits, and as RGB it takes 805 MB, all that one worker should hold
# decoded.
MAX_PIXELS = 16384**2
# Seconds that decoding one photo may take: a PNG of MAX_PIXELS needs about 4. Checked while pixels come in, so a
# codec that computes them all in one call (AVIF, WebP) is stopped after that call.
MAX_SECONDS = 60

# Metadata that stays true of the restored photo. An embedded thumbnail (EXIF ifd1) does not: it shows the old
# faces.
METADATA = ("icc-profile-data", "exif-", "xmp-data", "iptc-data", "resolution-unit")
THUMBNAIL = "exif-ifd1"

# ITU-R BT.601 luma, as JPEG uses it. The weights sum to 1, so equal channels come out unchanged.
LUMA = np.array([0.299, 0.587, 0.114])

pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in LOADERS.values():
    pyvips.operation_block_set(_loader, False)
# Each photo is seen once: libvips' cache of finished operations would only hold decoded pixels.
pyvips.cache_set_max(0)


class PhotoError(Exception):
    """A member that is no photo, or a broken one. The message is one line.

    error_type: empty_file, not_an_image, unsupported_format, truncated, decode_error, multi_page, too_large or
    too_slow.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(error_type, message)
        self.error_type = error_type
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass
class Photo:
    """A decoded photo, upright.

    pixels: (H, W, 3) uint8, writable. format: a key of LOADERS, or "bmp". width and height: px, after the EXIF
    orientation. bit_depth: bits of each channel in the file. image: the upright source with all its bands,
    bits and metadata.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    bit_depth: int
    image: pyvips.Image


def decode(data: bytes, max_pixels: int = MAX_PIXELS, max_seconds: int = MAX_SECONDS) -> Photo:
    """Decode an image file; of an animation the first frame. Raises PhotoError.

    The size is checked before any pixel is decoded, so a small file that claims a huge picture costs nothing.
    """
    if not data:
        raise PhotoError("empty_file", "the file is empty (0 bytes)")
    try:
        image = _open_bmp(data, max_pixels) if is_bmp(data) else _open(data, max_pixels)
        upright = image.autorot()
        pixels = _rgb_in_time(image, max_seconds)
    except (pyvips.Error, cv2.error) as error:
        raise PhotoError(*diagnose(data, str(error))) from error
    return Photo(
        pixels=pixels,
        format="bmp" if is_bmp(data) else _format(image),
        width=upright.width,
        height=upright.height,
        bit_depth=_bit_depth(image),
        image=upright,
    )


def encode(photo: Photo, pixels: Pixels, format: str, quality: int) -> bytes:
    """An image file with these pixels (H, W, 3) uint8 and the photo's own metadata, alpha and greyness.

    format: a key of EXTENSIONS. quality: 1 to 100, for jpeg and webp. Written upright, 8 bits a channel.
    Raises ValueError for another format or size, pyvips.Error where the format cannot hold the picture (webp
    ends at 16383 px).
    """
    if format not in EXTENSIONS:
        raise ValueError(f"cannot write {format!r}: choose one of {', '.join(EXTENSIONS)}")
    if pixels.shape != photo.pixels.shape:
        raise ValueError(f"pixels have shape {pixels.shape}, the photo {photo.pixels.shape}")
    image = pyvips.Image.new_from_array(_luma(pixels) if is_grey(photo) else pixels)
    image = image.copy(interpretation="b-w" if is_grey(photo) else "srgb")
    if photo.image.hasalpha():
        image = image.bandjoin(_to_srgb(photo.image)[-1])
    return _save(_with_metadata(image, photo.image), format, quality)


def is_grey(photo: Photo) -> bool:
    """Whether the file has one colour channel; a grey picture stored as RGB has three."""
    return bool(photo.image.bands - photo.image.hasalpha() == 1)


def _open(data: bytes, max_pixels: int) -> pyvips.Image:
    # "error", not "truncated": libvips lets a cut-off uncompressed TIFF through the latter, as a part-black picture.
    image = pyvips.Image.new_from_buffer(data, "", fail_on="error")
    _check_size(image.width, image.height, max_pixels)
    if _format(image) == "tiff":
        _check_pages(data, image)
    return image


def _open_bmp(data: bytes, max_pixels: int) -> pyvips.Image:
    """A Windows bitmap as 8-bit RGB, with its resolution; an alpha channel is dropped."""
    old = data[14] == 12  # OS/2's header counts in 16 bits and has no resolution
    width, height = struct.unpack_from("<HH" if old else "<ii", data.ljust(26, b"\0"), 18)
    _check_size(abs(width), abs(height), max_pixels)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise pyvips.Error("the content is damaged")
    across, down = (0, 0) if old else struct.unpack_from("<ii", data, 38)  # pixels per metre; 0: unknown
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    return image.copy(xres=across / 1000, yres=down / 1000) if across > 0 and down > 0 else image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PhotoError("too_large", f"{width} x {height} px are more than the limit of {max_pixels} px")


def _check_pages(data: bytes, image: pyvips.Image) -> None:
    """Refuse a TIFF with several pictures: the restored photo would be the first alone."""
    pages = image.get_n_pages()
    if pages > 1 and not only_copies_follow(data):
        raise PhotoError("multi_page", f"the tiff file has {pages} pages: split it into one file for each page")


def _format(image: pyvips.Image) -> str:
    return str(image.get("vips-loader")).removesuffix("_buffer").removesuffix("load")


def _rgb_in_time(image: pyvips.Image, max_seconds: int) -> Pixels:
    """The upright pixels, unless computing them takes longer.

    libvips reports to the image and to whatever is derived from it while it is watched, so nothing derived here may
    outlive the call: `stop` does not.
    """
    late = []

    def stop(running: pyvips.Image, progress: Any) -> None:
        if progress.run >= max_seconds:
            late.append(progress.run)
            running.set_kill(True)

    image.set_progress(True)
    image.signal_connect("eval", stop)
    try:
        pixels = _rgb(image.autorot())
    except pyvips.Error:
        if not late:
            raise
    finally:
        image.set_progress(False)
    if late:
        raise PhotoError("too_slow", f"decoding took longer than {max_seconds} s and was stopped")
    return pixels


def _to_srgb(image: pyvips.Image) -> pyvips.Image:
    """8-bit RGB, with alpha where there was one. 16-bit channels keep their upper byte; CMYK goes through a
    profile."""
    return image.colourspace("srgb").cast("uchar")


def _rgb(image: pyvips.Image) -> Pixels:
    pixels: Pixels = _to_srgb(image).extract_band(0, n=3).numpy()
    return pixels


def _luma(pixels: Pixels) -> Pixels:
    return np.rint(pixels @ LUMA).astype(np.uint8)


def _bit_depth(image: pyvips.Image) -> int:
    if image.get_typeof("bits-per-sample"):
        return int(image.get("bits-per-sample"))
    return {"uchar": 8, "ushort": 16}.get(image.format, 32)


def _with_metadata(image: pyvips.Image, source: pyvips.Image) -> pyvips.Image:
    """`image` with the source's resolution and METADATA; a profile only where it still describes the
    channels."""
    converted = source.interpretation not in ("srgb", "b-w", "rgb16", "grey16")
    image = image.copy(xres=source.xres, yres=source.yres)
    for field in source.get_fields():
        wanted = field.startswith(METADATA) and not field.startswith(THUMBNAIL)
        if wanted and not (converted and field == "icc-profile-data"):
            image.set_type(source.get_typeof(field), field, source.get(field))
    # Last, because setting the EXIF block brings its old orientation back.
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _save(image: pyvips.Image, format: str, quality: int) -> bytes:
    if format == "jpeg":
        flat = image.flatten(background=255) if image.hasalpha() else image  # JPEG has no alpha: on white paper
        return bytes(flat.jpegsave_buffer(Q=quality, optimize_coding=True))
    if format == "png":
        return bytes(image.pngsave_buffer())
    if format == "tiff":
        return bytes(image.tiffsave_buffer(compression="deflate", predictor="horizontal"))
    return bytes(image.webpsave_buffer(Q=quality))
