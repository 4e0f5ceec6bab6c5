"""Bytes to a photo: its own channels at its own bit depth, upright, and what its file says besides.

libvips decodes; OpenCV what its wheel leaves out (BMP, JPEG 2000). A photo is recognised by its content, never by its
name.
"""

from __future__ import annotations

import cv2
import numpy as np
import pyvips

from pipeline.config.limits import Limits
from pipeline.photos import bit_depth as photos_bit_depth
from pipeline.photos import bmp, colour_space, jpeg, jpeg2000, read_metadata, tiff, tiff_pages
from pipeline.photos import metadata as photos_metadata
from pipeline.photos.bit_depth import Native
from pipeline.photos.bmp import is_bmp
from pipeline.photos.colour_space import COLOURS, Space
from pipeline.photos.container import riff_chunks
from pipeline.photos.diagnosis import diagnose
from pipeline.photos.errors import PhotoError
from pipeline.photos.jpeg2000 import is_jpeg2000
from pipeline.photos.jpeg_appendix import appendix
from pipeline.photos.metadata import Metadata
from pipeline.photos.photo import Photo
from pipeline.photos.warning import PhotoWarning

LIMITS = Limits()  # the defaults

# libvips' loader class for each format that counts as a photo. It could open more (SVG, PDF, its own dumps):
# the rest stays blocked, because members are untrusted and those formats can name other files or run for ever.
LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "tiff": "VipsForeignLoadTiff",
    "webp": "VipsForeignLoadWebp",
    "gif": "VipsForeignLoadNsgif",
    "heif": "VipsForeignLoadHeif",
}
# What the name of such a loader says of the format, where it is another word.
FORMATS = {"heif": "avif"}

pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in LOADERS.values():
    pyvips.operation_block_set(_loader, False)
# Each photo is seen once: libvips' cache of finished operations would only hold decoded pixels.
pyvips.cache_set_max(0)


def decode(data: bytes, limits: Limits = LIMITS) -> Photo:
    """Decode an image file; of an animation or of several pages the first. Raises PhotoError.

    The size is checked before any pixel is decoded, so a small file that claims a huge picture costs nothing.
    """
    if not data:
        raise PhotoError("empty_file", "the file is empty (0 bytes)")
    try:
        if is_bmp(data):
            return _of_bmp(data, limits)
        if is_jpeg2000(data):
            return _of_jpeg2000(data, limits)
        return _of_vips(data, limits)
    except (pyvips.Error, cv2.error, ValueError) as error:
        raise PhotoError(*diagnose(data, str(error))) from error


def _of_vips(data: bytes, limits: Limits) -> Photo:
    extra = tiff_pages.extra_samples(data)
    if tiff_pages.ASSOCIATED in extra:  # libvips would divide by alpha, and round
        data = tiff_pages.unassociated(data)
    # "error", not "truncated": libvips lets a cut-off uncompressed TIFF through the latter, as a part-black picture.
    # Sequential, so that pixels go straight into their array and not by way of a second one.
    image = pyvips.Image.new_from_buffer(data, "", fail_on="error", access="sequential")
    _check_size(image.width, image.height, limits)
    format = str(image.get("vips-loader")).removesuffix("_buffer").removesuffix("load")
    format = FORMATS.get(format, format)
    if format == "tiff":
        refuse_raw(data)
    colours = COLOURS.get(image.interpretation, 0)
    if image.format not in ("uchar", "ushort") or not colours or image.bands < colours:
        kind = f"{image.format} {image.interpretation}"
        raise PhotoError(
            "unsupported_format", f"{format} files of {kind} samples are not restored: convert to 8 or 16 bits, RGB"
        )
    if format == "jpeg":
        native, warnings = jpeg.pixels(data)
        warnings += tuple(appendix(data))
    else:
        native, warnings = colour_space.array(image), ()
    bit_depth = int(image.get("bits-per-sample")) if format == "avif" else _bit_depth(image, colours)
    if bit_depth > 8 and format == "avif":
        native = photos_bit_depth.full_range(native, bit_depth, 16 - bit_depth)
    metadata = read_metadata.of_image(data, image, format)
    if format == "tiff":  # one for each channel behind the colours, whether the file says it or not
        extra = (*extra, *[tiff_pages.UNSPECIFIED] * image.bands)[: image.bands - colours]
    turn = image.get("orientation") if image.get_typeof("orientation") else 1
    if format in ("jpeg", "png"):  # libvips does not see each place that has it
        turn = photos_metadata.orientation(metadata.exif)
    profile = bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else None
    turn = turn if turn in range(1, 9) else 1
    return Photo(
        native=upright(native, turn),
        space=Space(colours, _peak(native), profile),
        format=format,
        bit_depth=bit_depth,
        metadata=metadata,
        lossless=format == "webp" and any(name == b"VP8L" for name, _ in riff_chunks(data)),
        orientation=turn,
        extra_samples=extra,
        warnings=(*warnings, *left_out(metadata)),
    )


def _of_bmp(data: bytes, limits: Limits) -> Photo:
    header = bmp.header(data)
    _check_size(header.width, header.height, limits)
    native = bmp.pixels(data, header)
    colours = 1 if native.shape[2] == 1 else 3
    return Photo(native, Space(colours, 255, header.profile), "bmp", min(header.bits, 8), header.metadata)


def _of_jpeg2000(data: bytes, limits: Limits) -> Photo:
    header = jpeg2000.header(data)
    _check_size(header.width, header.height, limits)
    native = jpeg2000.pixels(data, header)
    if native.dtype == np.uint16:
        native = photos_bit_depth.full_range(native, header.bits)
    turn = photos_metadata.orientation(header.metadata.exif)
    native = upright(native, turn)
    space = Space(1 if native.shape[2] < 3 else 3, _peak(native), header.profile)
    warnings = left_out(header.metadata)
    return Photo(
        native,
        space,
        "jp2",
        header.bits,
        header.metadata,
        orientation=turn,
        extra_samples=header.extra,
        warnings=warnings,
    )


def left_out(metadata: Metadata) -> tuple[PhotoWarning, ...]:
    """What a file says that no other file is given."""
    words = ", ".join(metadata.left_out)
    return (PhotoWarning("not_carried", f"not carried over: {words}"),) if words else ()


def refuse_raw(data: bytes) -> None:
    if tiff_pages.is_camera_raw(data):
        raise PhotoError(*diagnose(data, "a camera's raw file"))


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise ValueError("it has no pixels")
    if width * height > limits.pixels:
        raise PhotoError("too_large", f"{width} x {height} px are more than the limit of {limits.pixels} px")


def upright(native: Native, turn: int) -> Native:
    """Turned as EXIF's Orientation says (CIPA DC-008, 4.6.5): where the first row and the first column are."""
    if turn in (5, 6, 7, 8):
        native = native.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        native = native[::-1]
    if turn in (2, 3, 6, 7):
        native = native[:, ::-1]
    return np.ascontiguousarray(native)


def _peak(native: Native) -> int:
    return int(np.iinfo(native.dtype).max)


def _bit_depth(image: pyvips.Image, colours: int) -> int:
    whole = 8 if image.format == "uchar" else 16
    # Of a palette libvips says how many bits an index has.
    return int(image.get("bits-per-sample")) if colours == 1 and image.get_typeof("bits-per-sample") else whole
