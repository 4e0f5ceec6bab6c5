"""A large picture as a pyramid of tiles, by libvips."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

QUALITY = 88  # from 90 on libvips keeps the chroma at full resolution, for half as many bytes again


def srgb_image(pixels: npt.NDArray[Any]) -> pyvips.Image:
    """(H, W, 3) uint8 sRGB as an image of libvips."""
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")


def pyramid(image: pyvips.Image, name: str, layout: str, side: int, **options: Any) -> dict[str, bytes]:
    """The files of a pyramid, by their paths, which begin with `name`.

    layout: of `dzsave`, such as "dz" (Deep Zoom) or "iiif3". side: of a tile, px. options: further ones of `dzsave`.
    """
    suffix = f".jpg[Q={QUALITY},optimize_coding]"
    packed = image.dzsave_buffer(layout=layout, tile_size=side, suffix=suffix, imagename=name, **options)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {path: archive.read(path) for path in archive.namelist() if path.startswith(name) and path[-1] != "/"}
