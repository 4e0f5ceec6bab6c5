"""Encode a photo's channels as a file, with the metadata of its source file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from pipeline.photos import container, image_resources, tiff, tiff_pages
from pipeline.photos.bit_depth import Native, eight_bit, levels
from pipeline.photos.colour_space import DEEP, NAMES, Space, array
from pipeline.photos.errors import PhotoError
from pipeline.photos.losses import JPEG_EXIF, alpha_channels, kept_channels
from pipeline.photos.metadata import (
    COLOUR_CHUNKS,
    COLOUR_FIELDS,
    INCH,
    UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Metadata,
    block_of,
    descriptive,
    fields_of,
    resolution_fields,
    upright,
    without_colour,
    without_fields,
    without_nonsense,
)
from pipeline.photos.read_metadata import (
    ICC,
    PNG_XMP,
    RAW_PROFILE,
    RESOURCES,
    XMP,
    raw_profile,
)
from pipeline.photos.tiff import BYTE, IPTC, SHORT, UNDEFINED, Field

if TYPE_CHECKING:
    from pipeline.photos.photo import Photo

# The formats that `encode` writes, with the file extension (without dot) of each.
EXTENSIONS = {"jpeg": "jpg", "png": "png", "tiff": "tif", "webp": "webp", "avif": "avif"}
# The numbers of colour channels that each format can hold.
HOLDS = {"jpeg": (1, 3, 4), "png": (1, 3), "tiff": (1, 3, 4), "webp": (3,), "avif": (3,)}
EIGHT_BIT = ("jpeg", "webp")
# A classic TIFF ends at 4 GiB; deflate makes noise slightly longer.
BIG = (1 << 32) - (1 << 27)

# From 0 to 9. With 2, a 1.5 Mpx photo took 2 s on one core; the default of 4 took 35 s for a file 2 % smaller.
AVIF_EFFORT = 2


def output_format(photo: Photo, wanted: str) -> str:
    """A key of EXTENSIONS. wanted: such a key, or "source": the photo's own format if that can be written at its depth,
    else png, else tiff if png cannot hold the photo (CMYK, channels other than colours and one alpha)."""
    if wanted != "source":
        return wanted
    if photo.format in EXTENSIONS and (photo.bit_depth <= 8 or photo.format not in EIGHT_BIT):
        return photo.format
    extra = photo.native.shape[2] - photo.space.colours
    return "png" if photo.space.colours in HOLDS["png"] and extra == len(alpha_channels(photo)[:1]) else "tiff"


def encode(
    photo: Photo,
    native: Native,
    format: str,
    quality: int,
    xmp: bytes | None = None,
    extended_xmp: bytes | None = None,
) -> bytes:
    """An image file with these channels and the photo's own metadata, profile, resolution and alpha; upright.

    native: (H', W', B) as in photo.native, of any size. format: a key of EXTENSIONS. quality: 1 to 100, for jpeg, avif
    and webp; a photo from a lossless webp is written lossless. xmp: the packet to write instead of the source's.
    extended_xmp: its second part, for jpeg alone.

    CMYK becomes sRGB in png, webp and avif; grey becomes sRGB in webp and avif. More than 8 bits become 8 in jpeg and
    webp, and at most 12 in avif. jpeg has no alpha, so the picture is put on white. `losses` reports the rest.

    Raises ValueError for an unknown format or wrong channels, PhotoError if the format cannot hold the picture.
    """
    if format not in EXTENSIONS:
        raise ValueError(f"cannot write {format!r}: choose one of {', '.join(EXTENSIONS)}")
    if native.ndim != 3 or native.shape[2] != photo.native.shape[2] or native.dtype != photo.native.dtype:
        raise ValueError(f"{native.dtype} {native.shape} are not the channels of {photo.native.shape}")
    extra = kept_channels(photo, format)
    if len(extra) < native.shape[2] - photo.space.colours:
        native = native[..., [*range(photo.space.colours), *(photo.space.colours + n for n in extra)]]
    if format != "tiff" and extra and photo.extra_samples[extra[0] : extra[0] + 1] == (tiff_pages.ASSOCIATED,):
        native = _divided(photo.space, native)
    space, channels = _fitting(photo.space, native, format)
    metadata = replace(_for_output(photo, space, native, xmp, format), extended_xmp=extended_xmp)
    try:
        return _written(photo, space, channels, format, quality, metadata)
    except (pyvips.Error, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise PhotoError("not_encoded", f"{format} cannot hold this photo: {reason}") from error


def _fitting(space: Space, native: Native, format: str) -> tuple[Space, Native]:
    """The channels in a form that this format can hold."""
    extra = native.shape[2] - space.colours
    if space.colours not in HOLDS[format] or (format == "jpeg" and not container.fits_jpeg(space.profile)):
        space, native = srgb_channels(space, native)
    if format == "jpeg" and extra:
        white = 0 if space.colours == 4 else space.peak
        native = array(_image(space, native).flatten(background=[white] * space.colours))
    return (space, eight_bit(native)) if format in EIGHT_BIT else (space, native)


def _divided(space: Space, native: Native) -> Native:
    """Divide colours by the alpha that they were multiplied by."""
    whole = _image(space, native).unpremultiply(max_alpha=space.peak).rint()
    return array(whole.cast("uchar" if native.dtype == np.uint8 else "ushort"))


def srgb_channels(space: Space, native: Native) -> tuple[Space, Native]:
    """RGB in sRGB, with the other channels unchanged."""
    parts = (space.to_srgb(native), native[..., space.colours :])
    return Space(3, space.peak), np.concatenate(parts, axis=2)


def _image(space: Space, native: Native) -> pyvips.Image:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(native))
    name = NAMES[space.colours]
    return image.copy(interpretation=name if native.dtype == np.uint8 else DEEP[name])


def _written(photo: Photo, space: Space, native: Native, format: str, quality: int, metadata: Metadata) -> bytes:
    if format == "avif" and native.dtype == np.uint16:
        bits = 10 if photo.bit_depth <= 10 else 12
        return _as_avif(_image(space, levels(native, bits)), quality, bits, metadata, space.profile)
    image = _image(space, native)
    if format == "jpeg":
        return _as_jpeg(image, quality, metadata, space.profile)
    if format == "png":
        return _as_png(image, metadata, space.profile)
    if format == "tiff":
        return _as_tiff(image, photo.extra_samples, metadata, space.profile)
    if format == "webp":
        return _as_webp(image, quality, photo.lossless, metadata, space.profile)
    return _as_avif(image, quality, 8, metadata, space.profile)


def _for_output(photo: Photo, space: Space, native: Native, xmp: bytes | None, format: str) -> Metadata:
    """The output's metadata: the source's, updated for an upright picture of this size."""
    known = photo.metadata
    exif = without_nonsense(known.exif)
    exif = upright(exif, native.shape[1], native.shape[0]) if exif else None
    if known.dpi and format in ("webp", "avif") and X_RESOLUTION not in fields_of(exif):
        # These formats have no other place for this.
        exif = block_of(fields_of(exif) | resolution_fields(known.dpi))
    if space != photo.space:
        exif = without_fields(exif, COLOUR_FIELDS)
    if format == "jpeg" and len(exif or b"") > JPEG_EXIF:
        exif = None
    notes = () if photo.format != format else known.notes if space == photo.space else without_colour(known.notes)
    resources = image_resources.descriptive(known.resources or b"", photo.orientation == 1)
    xmp = known.xmp if xmp is None else xmp
    return replace(known, exif=exif, xmp=xmp, notes=notes, resources=resources)


def _as_jpeg(image: pyvips.Image, quality: int, metadata: Metadata, profile: bytes | None) -> bytes:
    whole = [round(one) for one in metadata.dpi or ()]
    known = whole and all(1 <= one <= 65535 for one in whole)  # JFIF has two bytes for each
    density = struct.pack(">BHH", 1, *whole) if known else struct.pack(">BHH", 0, 1, 1)
    segments = [(container.APP0, b"JFIF\0\1\2" + density + bytes(2))]
    if metadata.exif:
        segments.append((container.APP1, container.EXIF_MARK + metadata.exif))
    if metadata.xmp:
        segments.append((container.APP1, container.XMP_MARK + metadata.xmp))
    segments += container.extension_segments(metadata.extended_xmp or b"")
    if profile:
        segments += container.icc_segments(profile)
    segments += [(container.APP13, body) for body in image_resources.segments(metadata.iptc, metadata.resources)]
    segments += [(container.COMMENT, body) for _, body in metadata.notes]
    # To optimise its codes, libjpeg keeps all coefficients in memory: twice the bytes of the pixels.
    small = image.width * image.height < 1 << 26
    bare = image.jpegsave_buffer(Q=quality, optimize_coding=small, keep="none")
    return container.into_jpeg(bare, segments)


def _as_png(image: pyvips.Image, metadata: Metadata, profile: bytes | None) -> bytes:
    chunks = [note for note in metadata.notes if note[0] in COLOUR_CHUNKS]
    if profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if metadata.dpi:
        per_metre = (round(one * 100 / INCH) for one in metadata.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", PNG_XMP + bytes(4) + metadata.xmp))
    resources = image_resources.joined(metadata.iptc, metadata.resources)
    if resources:
        chunks.append((b"zTXt", RAW_PROFILE + b"iptc\0\0" + zlib.compress(raw_profile(resources))))
    chunks += [note for note in metadata.notes if note[0] not in COLOUR_CHUNKS]
    return container.into_png(image.pngsave_buffer(keep="none"), chunks)


def _as_tiff(image: pyvips.Image, extra: tuple[int, ...], metadata: Metadata, profile: bytes | None) -> bytes:
    big = image.width * image.height * image.bands * _image_bytes(image) > BIG
    bare = image.tiffsave_buffer(compression="deflate", predictor="horizontal", bigtiff=big, keep="none")
    fields = descriptive(fields_of(metadata.exif))
    if extra:
        fields[tiff_pages.EXTRA_SAMPLES] = Field(SHORT, len(extra), struct.pack(f"<{len(extra)}H", *extra))
    if metadata.dpi:
        fields |= resolution_fields(metadata.dpi)
    values = {XMP: metadata.xmp, IPTC: metadata.iptc, RESOURCES: metadata.resources, ICC: profile}
    for tag, value in values.items():
        if value:
            fields[tag] = Field(UNDEFINED if tag == ICC else BYTE, len(value), value)
    return tiff.with_fields(bare, fields, without=(X_RESOLUTION, Y_RESOLUTION, UNIT))


def _as_webp(image: pyvips.Image, quality: int, lossless: bool, metadata: Metadata, profile: bytes | None) -> bytes:
    bare = image.webpsave_buffer(Q=quality, lossless=lossless, exact=lossless, keep="none")
    size = (image.width, image.height)
    return container.into_webp(bare, size, image.hasalpha(), profile, metadata.exif, metadata.xmp)


def _as_avif(image: pyvips.Image, quality: int, bits: int, metadata: Metadata, profile: bytes | None) -> bytes:
    """An AVIF file. libvips writes the metadata too, because no other library here can."""
    image = image.copy()
    blobs = {"icc-profile-data": profile, "exif-data": metadata.exif and container.EXIF_MARK + metadata.exif}
    blobs |= {"xmp-data": metadata.xmp}
    for name, value in blobs.items():
        if value:
            image.set_type(pyvips.GValue.blob_type, name, value)
    if metadata.dpi:
        image = image.copy(xres=metadata.dpi[0] / (10 * INCH), yres=metadata.dpi[1] / (10 * INCH))
    keep = "icc|xmp|exif" if metadata.exif else "icc|xmp"  # libvips would invent an EXIF block
    return bytes(image.heifsave_buffer(compression="av1", Q=quality, bitdepth=bits, effort=AVIF_EFFORT, keep=keep))


def _image_bytes(image: pyvips.Image) -> int:
    return 1 if image.format == "uchar" else 2


def in_srgb(photo: Photo) -> Photo:
    """The photo as RGB in sRGB, at its bit depth and with its alpha."""
    space, native = srgb_channels(photo.space, photo.native)
    notes = without_colour(photo.metadata.notes)
    return replace(photo, native=native, space=space, metadata=replace(photo.metadata, notes=notes))
