"""Static tiles of IIIF Image API 3.0, level 0, by libvips: plain files that any web server hands out.

It decodes untrusted bytes, so it runs in the sandbox.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from pipeline.config.limits import Limits
from pipeline.export.iiif import Size
from pipeline.photos import decode as photo_decoder
from pipeline.photos import pages as photo_pages
from pipeline.photos import tiles as photo_tiles
from pipeline.photos.bit_depth import eight_bit

TILE_SIDE = 512  # px
WHOLE_SIDE = 4096  # px: a larger photo is given out whole only reduced to it; its tiles have all pixels


def pyramids(
    before: bytes, page: int, after: bytes, address: str, limits: Limits
) -> tuple[dict[str, bytes], dict[str, list[Size]]]:
    """The files of both pictures of a photo by their paths, and for each picture, `before` and `after`, its size, that
    of its whole file (full/max) and that of its smallest file.

    before: the member. page: of the member, from 1. after: the restored photo. address: URL of the folder that the
    files go to. Raises PhotoError.
    """
    files: dict[str, bytes] = {}
    sizes = {}
    for name, data in (("before", photo_pages.page_file(before, page, limits)), ("after", after)):
        pixels = eight_bit(photo_decoder.decode(data, limits).srgb())
        sizes[name] = pyramid(pixels, name, address, files)
    return files, sizes


def pyramid(pixels: npt.NDArray[np.uint8], name: str, address: str, files: dict[str, bytes]) -> list[Size]:
    """Add the files of one picture, (H, W, 3) sRGB; returns the three sizes as `pyramids` does."""
    image = photo_tiles.srgb_image(pixels)
    made = photo_tiles.pyramid(image, name, "iiif3", TILE_SIDE, id=address)
    whole = image if max(pixels.shape) <= WHOLE_SIDE else image.thumbnail_image(WHOLE_SIDE, height=WHOLE_SIDE)
    made[f"{name}/full/max/0/default.jpg"] = whole.jpegsave_buffer(Q=photo_tiles.QUALITY, optimize_coding=True)
    smallest = next(path.split("/")[2] for path in made if path.startswith(f"{name}/full/") and "/max/" not in path)
    width, height = map(int, smallest.split(","))
    info = json.loads(made[f"{name}/info.json"]) | {"sizes": [{"width": width, "height": height}]}
    if whole is not image:
        info["maxWidth"] = WHOLE_SIDE
    made[f"{name}/info.json"] = json.dumps(info, indent=1).encode()
    files |= made
    return [(image.width, image.height), (whole.width, whole.height), (width, height)]
