"""JPEG XL (ISO/IEC 18181): read the boxes and the header of the codestream; libjxl decodes the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.photos.errors import PhotoError
from pipeline.photos.jpeg2000 import boxes
from pipeline.photos.jxl_header import CODESTREAM, JxlHeader, jxl_header
from pipeline.photos.metadata import Metadata, dpi_of, exif_block, fields_of
from pipeline.photos.tiff_pages import ASSOCIATED, UNASSOCIATED

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
RECONSTRUCTION, PACKED = b"jbrd", b"brob"
PACKED_BYTES = 16 << 20  # most bytes of a box, unpacked


@dataclass(frozen=True)
class JxlFile:
    """is_jpeg: whether it is a transcoded JPEG. extra: the meaning of an alpha channel, as in tiff_pages."""

    header: JxlHeader
    metadata: Metadata
    is_jpeg: bool

    @property
    def extra(self) -> tuple[int, ...]:
        return () if self.header.alpha is None else (ASSOCIATED if self.header.alpha else UNASSOCIATED,)


def is_jpeg_xl(data: bytes) -> bool:
    return data.startswith((CONTAINER, CODESTREAM))


def opened(data: bytes) -> JxlFile:
    """Everything except the pixels. Raises PhotoError if the colours cannot be decoded; ValueError."""
    stream, found = data if data.startswith(CODESTREAM) else b"", {}
    for name, body in boxes(data, inside=()) if not stream else ():
        if name in (b"jxlc", b"jxlp") and not stream:
            stream = body if name == b"jxlc" else body[4:]  # a part begins with its number
        elif name == PACKED:
            found[body[:4]] = _unpacked(body[4:])
        else:
            found[name] = body
    header = jxl_header(stream)
    is_jpeg = RECONSTRUCTION in found
    if not is_jpeg and header.problem:
        words = f"JPEG XL files with {header.problem} are not decoded: convert the file to PNG with djxl"
        raise PhotoError("unsupported_format", words)
    exif = exif_block(found.get(b"Exif", b"")[4:])
    return JxlFile(header, Metadata(exif, found.get(b"xml "), None, dpi_of(fields_of(exif))), is_jpeg)


def jpeg(data: bytes) -> bytes:
    """The original bytes of a transcoded JPEG. Raises ValueError."""
    from imagecodecs import jpegxl_decode_jpeg

    try:
        return bytes(jpegxl_decode_jpeg(data, numthreads=1))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the content is damaged: {error}") from error


def pixels(data: bytes, known: JxlFile) -> npt.NDArray[Any]:
    """(H, W, B), upright, uint8 or uint16 of the header's bits. Raises ValueError."""
    from imagecodecs import jpegxl_decode

    try:
        read = np.array(jpegxl_decode(data, index=0, numthreads=1))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"the content is damaged: {error}") from error
    bands = known.header.colours + len(known.extra)
    read = read.reshape(*read.shape[:2], -1) if read.ndim > 1 else read
    right = read.ndim == 3 and read.shape[2] >= bands and read.dtype in (np.uint8, np.uint16)
    if not right or {*read.shape[:2]} != {known.header.width, known.header.height}:
        raise ValueError("the content is damaged")
    return np.ascontiguousarray(read[..., :bands])


def profile(data: bytes) -> bytes | None:
    """The ICC profile in the codestream. imagecodecs does not return it, so this decodes again. Raises ValueError."""
    import pylibjxl

    try:
        _, found = pylibjxl.decode(data, metadata=True)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the content is damaged: {error}") from error
    return found.get("icc")


def _unpacked(data: bytes) -> bytes:
    from imagecodecs import brotli_decode

    try:
        return bytes(brotli_decode(data, out=PACKED_BYTES))
    except (RuntimeError, ValueError):
        return b""
