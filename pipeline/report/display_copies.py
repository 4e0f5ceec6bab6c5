"""Display copies of a photo for the report: JPEGs in sRGB, which every browser shows."""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.config.limits import Limits
from pipeline.faces import alignment
from pipeline.photos import decode as photo_decoder
from pipeline.photos import pages as photo_pages
from pipeline.photos import tiles as photo_tiles
from pipeline.photos.bit_depth import eight_bit

Pixels = npt.NDArray[np.uint8]

THUMBNAIL_SIDE = 360  # px: a card of the gallery is 180 px wide, and many screens have two pixels per px
# px: of a larger photo a browser shows the whole reduced to this, and its pixels in tiles. It opens 13 megapixels at
# once; with 50 each step of the zoom takes seconds, and with 108 the page stops.
WHOLE_SIDE = 4096
TILE_SIDE = 2048  # px: so that even a scan of 108 megapixels has fewer than 50 files a side; site/layer.js knows it
PHOTO_QUALITY = photo_tiles.QUALITY
FACE_QUALITY = 92
# A crop is as large as the face in the photo, within these limits: large enough to see, but not enlarged to a blur.
FACE_SIDES = (256, 1024)
SIDES = ("before", "after")
TILE = 128  # px: side of a face in the contact sheet
SHEET_COLUMNS = 32  # faces beside each other in a sheet; site/tile.js knows both numbers


def display_copies(
    before: bytes, page: int, after: bytes | None, landmarks: list[list[list[float]]], max_side: int, limits: Limits
) -> dict[str, bytes]:
    """JPEG files by name: thumbnail.jpg and, if there is a restored photo, before.jpg, after.jpg, for each face
    <n>_before.jpg and <n>_after.jpg, cut out upright at the photo's resolution, and faces.jpg with all faces, small.
    Of a photo above WHOLE_SIDE these two are reduced, and `deep` adds its tiles.

    before: the member. page: of the member, from 1. after: the restored photo, or None. landmarks: of each face, (5, 2)
    px in the photo before. max_side: px; a larger photo is reduced to it. Raises PhotoError.
    """
    if after is None:
        return {"thumbnail.jpg": thumbnail(before, page, limits)}
    source = eight_bit_srgb(photo_pages.page_file(before, page, limits), limits)
    restored = eight_bit_srgb(after, limits)
    files: dict[str, bytes] = {}
    tiles = []
    for n, points in enumerate(landmarks):
        pair = face_crops(source, restored, np.array(points))
        files |= {f"{n}_{side}.jpg": jpeg(crop, FACE_QUALITY) for side, crop in zip(SIDES, pair, strict=True)}
        tiles.append([cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA) for crop in pair])
    if tiles:
        files["faces.jpg"] = jpeg(sheet(tiles), PHOTO_QUALITY)
    files |= deep({"before": fitted(source, max_side), "after": fitted(restored, max_side)})
    files["before.jpg"] = jpeg(fitted(source, min(max_side, WHOLE_SIDE)), PHOTO_QUALITY)
    files["after.jpg"] = jpeg(fitted(restored, min(max_side, WHOLE_SIDE)), PHOTO_QUALITY)
    files["thumbnail.jpg"] = jpeg(fitted(restored, THUMBNAIL_SIDE), PHOTO_QUALITY)
    return files


def deep(sides: dict[str, Pixels]) -> dict[str, bytes]:
    """Tiles (Deep Zoom) of those sides of a photo that are larger than WHOLE_SIDE, in the sizes above it.

    They are <side>_files/<level>/<column>_<row>.jpg. tiles.js has the size of each such side, px; a photo of WHOLE_SIDE
    has this file, too, since its picture looks to the page like a reduced one.
    """
    files: dict[str, bytes] = {}
    sizes = {}
    for side, pixels in sides.items():
        height, width = pixels.shape[:2]
        if max(width, height) <= WHOLE_SIDE:
            continue
        sizes[side] = (width, height)
        most = math.ceil(math.log2(max(width, height)))  # the level of all pixels; each below has half the width
        levels = range(most, most - math.ceil(math.log2(max(width, height) / WHOLE_SIDE)), -1)
        made = photo_tiles.pyramid(photo_tiles.srgb_image(pixels), side, "dz", TILE_SIDE, overlap=0)
        kept = tuple(f"{side}_files/{level}/" for level in levels)
        files |= {path: file for path, file in made.items() if path.startswith(kept)}
    if max(max(pixels.shape) for pixels in sides.values()) >= WHOLE_SIDE:
        files["tiles.js"] = f'Report.receive("tiles", {json.dumps(sizes)});\n'.encode()
    return files


def thumbnail(data: bytes, page: int, limits: Limits) -> bytes:
    """A small JPEG of a page of a member, from 1. Raises PhotoError."""
    return jpeg(
        fitted(eight_bit_srgb(photo_pages.page_file(data, page, limits), limits), THUMBNAIL_SIDE), PHOTO_QUALITY
    )


def eight_bit_srgb(data: bytes, limits: Limits) -> Pixels:
    """(H, W, 3) uint8 sRGB of an image file."""
    return eight_bit(photo_decoder.decode(data, limits).srgb())


def face_crops(source: Pixels, restored: Pixels, points: npt.NDArray[np.float64]) -> tuple[Pixels, Pixels]:
    """Cut one face out of both photos in the same way; the restored one may be larger than its source."""
    scale = restored.shape[1] / source.shape[1]
    larger = (points + 0.5) * scale - 0.5  # pixel centres
    side = crop_side(larger)
    before, after = alignment.align(source, points, side)[0], alignment.align(restored, larger, side)[0]
    return eight_bit(before), eight_bit(after)  # they are already, which their type does not say


def sheet(tiles: list[list[npt.NDArray[Any]]]) -> Pixels:
    """All faces of a photo, small: lines of up to SHEET_COLUMNS faces before, each above the same faces after.

    tiles: of each face, before and after, (TILE, TILE, 3) uint8.
    """
    columns = min(len(tiles), SHEET_COLUMNS)
    lines = -(-len(tiles) // columns)
    made = np.zeros((lines, 2, TILE, columns, TILE, 3), np.uint8)
    for n, pair in enumerate(tiles):
        line, column = divmod(n, columns)
        made[line, :, :, column] = np.stack(pair)
    return made.reshape(lines * 2 * TILE, columns * TILE, 3)


def crop_side(points: npt.NDArray[np.float64]) -> int:
    """Side of a crop (px) that shows the face about as large as in the photo."""
    eyes = np.linalg.norm(alignment.TEMPLATE[1] - alignment.TEMPLATE[0])
    natural = round(float(np.linalg.norm(points[1] - points[0]) / eyes) * alignment.TEMPLATE_SIZE)
    return min(max(natural, FACE_SIDES[0]), FACE_SIDES[1])


def fitted(pixels: Pixels, side: int) -> Pixels:
    """The photo, reduced if a side is longer than `side` px."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def jpeg(pixels: npt.NDArray[Any], quality: int) -> bytes:
    image = photo_tiles.srgb_image(pixels)
    return bytes(image.jpegsave_buffer(Q=quality, optimize_coding=True, interlace=max(pixels.shape) > THUMBNAIL_SIDE))
