"""Bytes to a photo and back (libvips).

A photo is recognised by its content, never by its name. Its pixels are device RGB, 8 bits: an embedded ICC
profile is not applied but carried along, so pixels that nothing touches come out as they went in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyvips

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

    error_type: empty_file, not_an_image, truncated, decode_error or too_large.
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

    pixels: (H, W, 3) uint8, writable. format: a key of LOADERS. width and height: px, after the EXIF
    orientation. bit_depth: bits of each channel in the file. image: the upright source with all its bands,
    bits and metadata.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    bit_depth: int
    image: pyvips.Image


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode an image file; of several pages or frames the first. Raises PhotoError.

    The size is checked before any pixel is decoded, so a small file that claims a huge picture costs nothing.
    """
    if not data:
        raise PhotoError("empty_file", "the file is empty (0 bytes)")
    try:
        # "error", not "truncated": libvips lets a cut-off uncompressed TIFF through the latter, as a
        # part-black picture.
        image = pyvips.Image.new_from_buffer(data, "", fail_on="error")
        if image.width * image.height > max_pixels:
            raise PhotoError(
                "too_large", f"{image.width} x {image.height} px are more than the limit of {max_pixels} px"
            )
        upright = image.autorot()
        pixels = _rgb(upright)
    except pyvips.Error as error:
        raise _broken(data, error) from error
    return Photo(
        pixels=pixels,
        format=str(image.get("vips-loader")).removesuffix("_buffer").removesuffix("load"),
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


def _broken(data: bytes, error: pyvips.Error) -> PhotoError:
    """Say what is wrong with data that libvips could not read."""
    format = _magic(data)
    if format is None and "not in a known format" in str(error):
        return PhotoError("not_an_image", "the content is no image format that this installation reads")
    if format is not None and _cut_off(data, format):
        return PhotoError("truncated", f"the {format} file ends too early, after {len(data)} bytes")
    # libvips appends: the last line belongs to this call.
    reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
    return PhotoError("decode_error", f"the {format or 'image'} file cannot be decoded: {reason}")


def _magic(data: bytes) -> str | None:
    """The format that the first bytes announce, for the formats whose end can be checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    starts = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"II*\0": "tiff", b"MM\0*": "tiff"}
    return next((format for start, format in starts.items() if data.startswith(start)), None)


def _cut_off(data: bytes, format: str) -> bool:
    """Whether an unreadable file lacks its end: the end marker, the announced length, or what offsets point
    to."""
    try:
        if format == "webp":  # RIFF: the length of what follows the first 8 bytes
            return int(struct.unpack_from("<I", data, 4)[0]) + 8 > len(data)
        if format == "tiff":
            return _tiff_end(data) > len(data)
    except struct.error:  # a directory or list that lies beyond the last byte
        return True
    return {"jpeg": b"\xff\xd9", "png": b"IEND", "gif": b"\x00\x3b"}[format] not in data[-64:]


def _tiff_end(data: bytes) -> int:
    """Where the last strip or tile of a TIFF's first page ends (TIFF 6.0, section 2 and tags 273, 279, 324,
    325)."""
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "I", data, 4)[0]
    fields: dict[int, tuple[int, ...]] = {}
    for entry in range(struct.unpack_from(order + "H", data, directory)[0]):
        place = directory + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        if tag in (273, 279, 324, 325):
            values = f"{order}{min(count, len(data))}{'H' if kind == 3 else 'I'}"
            inline = struct.calcsize(values) <= 4
            start = place + 8 if inline else struct.unpack_from(order + "I", data, place + 8)[0]
            fields[tag] = struct.unpack_from(values, data, start)
    pairs = ((273, 279), (324, 325))
    return max(
        (o + n for a, b in pairs for o, n in zip(fields.get(a, ()), fields.get(b, ()), strict=False)),
        default=0,
    )
