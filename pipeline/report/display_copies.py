"""Display copies of a photo for the report: JPEGs in sRGB, which every browser shows."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyvips

from pipeline.config.limits import Limits
from pipeline.faces import alignment
from pipeline.photos import decode as photo_decoder
from pipeline.photos import pages as photo_pages
from pipeline.photos.bit_depth import eight_bit

Pixels = npt.NDArray[np.uint8]

THUMBNAIL_SIDE = 360  # px: a card of the gallery is 180 px wide, and many screens have two pixels per px
PHOTO_QUALITY = 88  # from 90 on libvips keeps the chroma at full resolution, for half as many bytes again
FACE_QUALITY = 92
# A crop is as large as the face in the photo, within these limits: large enough to see, but not enlarged to a blur.
FACE_SIDES = (256, 1024)
SIDES = ("before", "after")
TILE = 128  # px: side of a face in the contact sheet
SHEET_COLUMNS = 32  # faces beside each other in a sheet; site/card.js knows both numbers


def display_copies(
    before: bytes, page: int, after: bytes | None, landmarks: list[list[list[float]]], max_side: int, limits: Limits
) -> dict[str, bytes]:
    """JPEG files by name: thumbnail.jpg and, if there is a restored photo, before.jpg, after.jpg, for each face
    <n>_before.jpg and <n>_after.jpg, cut out upright at the photo's resolution, and faces.jpg with all faces, small.

    before: the member. page: of the member, from 1. after: the restored photo, or None. landmarks: of each face, (5, 2)
    px in the photo before. max_side: px; a larger whole photo is reduced to it. Raises PhotoError.
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
    files["before.jpg"] = jpeg(fitted(source, max_side), PHOTO_QUALITY)
    files["after.jpg"] = jpeg(fitted(restored, max_side), PHOTO_QUALITY)
    files["thumbnail.jpg"] = jpeg(fitted(restored, THUMBNAIL_SIDE), PHOTO_QUALITY)
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
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")
    return bytes(image.jpegsave_buffer(Q=quality, optimize_coding=True, interlace=max(pixels.shape) > THUMBNAIL_SIDE))
