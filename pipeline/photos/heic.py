"""HEIC, the photos of phones (ISO/IEC 23008-12 with HEVC), which libvips' wheel leaves out; libheif decodes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.photos.metadata import Metadata, dpi_of, exif_block, fields_of
from pipeline.photos.warning import PhotoWarning

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
COLOURS = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}
# What its library raises for other or damaged files.
DAMAGED = (RuntimeError, ValueError, EOFError, SyntaxError, OSError, LookupError)


@dataclass
class Header:
    """width, height: px, after the file's own turning and cropping. bits: of each channel."""

    width: int
    height: int
    bits: int
    profile: bytes | None
    metadata: Metadata
    warnings: tuple[PhotoWarning, ...]
    picture: Any


def brands(data: bytes) -> list[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return []
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return [box[place : place + 4] for place in range(0, len(box), 4)]


def is_heic(data: bytes) -> bool:
    return any(brand in BRANDS for brand in brands(data))


def header(data: bytes) -> Header:
    """Everything except the pixels. Raises ValueError."""
    import pi_heif

    try:
        file = pi_heif.open_heif(data, convert_hdr_to_8bit=False)
        picture = file[file.primary_index]
    except DAMAGED as error:
        raise ValueError(f"the content is damaged: {error}") from error
    about = picture.info
    exif = exif_block(about.get("exif"))
    metadata = Metadata(exif, about.get("xmp"), None, dpi_of(fields_of(exif)))
    width, height = picture.size
    profile, further = about.get("icc_profile"), _further(file, about)
    return Header(width, height, about["bit_depth"], profile, metadata, further, picture)


def pixels(known: Header) -> tuple[npt.NDArray[Any], int]:
    """(H, W, B) and the number of colour channels: uint8, or uint16 with the bits at the top. Raises ValueError."""
    try:
        read = np.array(known.picture)
    except DAMAGED as error:
        raise ValueError(f"the content is damaged: {error}") from error
    mode = known.picture.mode.partition(";")[0]
    return read.reshape(known.height, known.width, -1), COLOURS[mode]


def _further(file: Any, about: dict[str, Any]) -> tuple[PhotoWarning, ...]:
    """Warnings about further pictures in the file, except thumbnails, which show the old faces."""
    found = []
    if len(file) > 1:
        found.append(PhotoWarning("more_pictures", f"further pictures in the file, not restored: {len(file) - 1}"))
    maps = [name for name, kept in (("depth map", "depth_images"), ("gain map or mask", "aux")) if about.get(kept)]
    if maps:
        found.append(PhotoWarning("not_carried", f"not carried over: {', '.join(maps)}"))
    return tuple(found)
