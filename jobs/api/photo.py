"""What a user gives as a photo: a path, bytes, a PIL image or an array, as the bytes of an image file."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline import storage
from pipeline.archives.names import escape_name
from pipeline.photos.errors import PhotoError

Array: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Photo: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | Array

PNG_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16")  # of PIL, which PNG holds


@dataclass(frozen=True)
class Given:
    """A photo as a file: its bytes, and the source and member that its restored file names."""

    data: bytes
    source: str
    member: str


def given(photo: Photo, source: str, member: str, most: int) -> Given:
    """The file of a photo. source, member: what it comes from; empty: its folder and name if it is a path.

    most: bytes that a file may have. Raises StorageError, PhotoError of too_large, TypeError, or ValueError for an
    array or image that is no photo.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        return Given(bytes(photo), source, member)
    if isinstance(photo, str | os.PathLike):
        uri = storage.canonical(os.fspath(photo))
        folder, name = storage.folder_and_name(uri)
        data = storage.read_bytes(uri, 0, most + 1)
        if len(data) > most:
            raise PhotoError("too_large", f"{name}: over the limit of {most} bytes")
        return Given(data, source or folder, member or escape_name(name))
    return Given(png_of_array(photo) if isinstance(photo, np.ndarray) else png_of_image(photo), source, member)


def png_of_array(pixels: Array) -> bytes:
    """(H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16, as a PNG of the same depth, in sRGB."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or channels not in (1, 3, 4):
        wanted = "give (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16"
        raise ValueError(f"an array {pixels.shape} of {pixels.dtype}: {wanted}")
    if not pixels.size:
        raise ValueError(f"an array {pixels.shape}: it has no pixels")
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]  # OpenCV writes BGR
    _, png = cv2.imencode(".png", np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels)[..., order]))
    return png.tobytes()


def png_of_image(image: Image.Image) -> bytes:
    """A PIL image, turned upright, as a PNG with its profile."""
    if not isinstance(image, Image.Image):
        raise TypeError(f"{type(image).__name__} is no type of photo: give a path, bytes, a PIL image or an array")
    if image.mode not in PNG_MODES:
        raise ValueError(f"a PIL image of mode {image.mode}: convert it to L, RGB or RGBA, or give its file")
    buffer = io.BytesIO()
    ImageOps.exif_transpose(image).save(buffer, "PNG")
    return buffer.getvalue()
