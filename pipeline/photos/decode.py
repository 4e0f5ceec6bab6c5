"""Decode bytes to a photo: its own channels at its own bit depth, upright, with the metadata of its file.

libvips decodes most formats; `other_decoders` those that its wheel leaves out. A photo is recognised by its content,
never by its name.
"""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import pyvips

from pipeline.config.limits import Limits
from pipeline.photos import bit_depth as photos_bit_depth
from pipeline.photos import colour_space, jpeg, jpeg_xl, other_decoders, read_metadata, tiff_pages
from pipeline.photos import metadata as photos_metadata
from pipeline.photos.colour_space import COLOURS, Space
from pipeline.photos.container import riff_chunks
from pipeline.photos.diagnosis import diagnose
from pipeline.photos.errors import PhotoError
from pipeline.photos.jpeg_appendix import appendix
from pipeline.photos.losses import left_out
from pipeline.photos.photo import Photo
from pipeline.photos.upright import check_size, peak, upright
from pipeline.photos.warning import PhotoWarning

LIMITS = Limits()  # the defaults

# libvips' loader class for each format that counts as a photo. Its other loaders (SVG, PDF, its own dumps) stay
# blocked: members are untrusted, and those formats can name other files or run for ever.
LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "tiff": "VipsForeignLoadTiff",
    "webp": "VipsForeignLoadWebp",
    "gif": "VipsForeignLoadNsgif",
    "heif": "VipsForeignLoadHeif",
}
# The format of a loader whose name differs from it.
FORMATS = {"heif": "avif"}

pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in LOADERS.values():
    pyvips.operation_block_set(_loader, False)
# Each photo is decoded once per process, so libvips' cache of operations would only hold decoded pixels.
pyvips.cache_set_max(0)


def decode(data: bytes, limits: Limits = LIMITS) -> Photo:
    """Decode an image file; only the first frame or page. Raises PhotoError.

    The size is checked before any pixel is decoded, so a small file that claims a huge picture costs nothing.
    """
    if not data:
        raise PhotoError("empty_file", "the file is empty (0 bytes)")
    try:
        if jpeg_xl.is_jpeg_xl(data) and (file := jpeg_xl.opened(data)).is_jpeg:
            check_size(file.header.width, file.header.height, limits)
            return replace(_of_vips(jpeg_xl.jpeg(data), limits), format="jxl")
        return other_decoders.photo_of(data, limits) or _of_vips(data, limits)
    except pyvips.Error as error:
        photo = _without_nonsense(data, str(error), limits)
        if photo is None:
            raise PhotoError(*diagnose(data, str(error))) from error
        return photo
    except (cv2.error, ValueError) as error:
        raise PhotoError(*diagnose(data, str(error))) from error


def _without_nonsense(data: bytes, problem: str, limits: Limits) -> Photo | None:
    """The photo, with a warning, if it is a TIFF that decodes once needless fields are removed; else None."""
    refuse_raw(data)
    try:
        plain = tiff_pages.plain(data)
        photo = _of_vips(plain, limits)
        known = read_metadata.of_tiff(data)
    except (pyvips.Error, ValueError, IndexError):
        return None
    reason = " ".join((re.findall(r"Bad value [^\n]*", problem) or ["fields that libtiff refuses"])[0].split())
    warnings = (PhotoWarning("not_carried", f"not carried over: {reason}"), *left_out(known))
    return replace(photo, metadata=known, warnings=warnings)


def _of_vips(data: bytes, limits: Limits) -> Photo:
    extra = tiff_pages.extra_samples(data)
    if tiff_pages.ASSOCIATED in extra:  # libvips would divide by alpha, and round
        data = tiff_pages.unassociated(data)
    # "error", not "truncated": the latter accepts a cut-off uncompressed TIFF as a partly black picture.
    # Sequential access writes pixels straight into their array, without a second one.
    image = pyvips.Image.new_from_buffer(data, "", fail_on="error", access="sequential")
    check_size(image.width, image.height, limits)
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
    warnings += _frames(image, format)
    bit_depth = int(image.get("bits-per-sample")) if format == "avif" else _bit_depth(image, colours)
    if bit_depth > 8 and format == "avif":
        native = photos_bit_depth.full_range(native, bit_depth, 16 - bit_depth)
    metadata = read_metadata.of_image(data, image, format)
    if format == "tiff":  # one value for each channel after the colours, even if the file lacks it
        extra = (*extra, *[tiff_pages.UNSPECIFIED] * image.bands)[: image.bands - colours]
    turn = image.get("orientation") if image.get_typeof("orientation") else 1
    if format in ("jpeg", "png") and metadata.exif:  # libvips does not read every place for it
        turn = photos_metadata.orientation(metadata.exif)
    profile = bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else None
    turn = turn if turn in range(1, 9) else 1
    return Photo(
        native=upright(native, turn),
        space=Space(colours, peak(native), profile),
        format=format,
        bit_depth=bit_depth,
        metadata=metadata,
        lossless=format == "webp" and any(name == b"VP8L" for name, _ in riff_chunks(data)),
        orientation=turn,
        extra_samples=extra,
        warnings=(*warnings, *left_out(metadata)),
    )


def _frames(image: pyvips.Image, format: str) -> tuple[PhotoWarning, ...]:
    """A warning for an animation. A TIFF's further pages are photos, so they give none."""
    count = image.get("n-pages") if format != "tiff" and image.get_typeof("n-pages") else 1
    return (PhotoWarning("more_pictures", f"the first of {count} frames is restored"),) if count > 1 else ()


def refuse_raw(data: bytes) -> None:
    if tiff_pages.is_camera_raw(data):
        raise PhotoError(*diagnose(data, "a camera's raw file"))


def _bit_depth(image: pyvips.Image, colours: int) -> int:
    whole = 8 if image.format == "uchar" else 16
    # For a palette, libvips gives the bits of an index.
    return int(image.get("bits-per-sample")) if colours == 1 and image.get_typeof("bits-per-sample") else whole
