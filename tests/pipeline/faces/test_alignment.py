"""Crops cut out of photos and pasted back: geometry, depth, number of bands, and no visible seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import skimage.filters

from pipeline.faces import pasting
from pipeline.faces.alignment import TEMPLATE, align, compose, cut, invert, landmark_error, scaled, whole
from pipeline.faces.face import Face, suppress
from pipeline.faces.mask import SQUARE
from pipeline.faces.pasting import paste

# Where the astronaut's eyes, nose and mouth corners are, read off the picture (px).
LANDMARKS = np.array([[202, 101], [246, 103], [223, 128], [204, 141], [243, 141]], dtype=np.float32)


@pytest.fixture
def photo() -> np.ndarray:
    return skimage.data.astronaut()


def landmarks_at(matrix: np.ndarray) -> np.ndarray:
    """The landmarks, in photo coordinates, of a face that `matrix` (2, 3) maps to the 512 px template."""
    return TEMPLATE @ invert(matrix)[:, :2].T + invert(matrix)[:, 2]


def test_align_puts_the_landmarks_on_the_template(photo: np.ndarray) -> None:
    crop, matrix = align(photo, LANDMARKS, 256)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8
    moved = LANDMARKS @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(moved[:2] - TEMPLATE[:2] / 2).max() < 8
    assert np.isclose(matrix[0, 0], matrix[1, 1]) and np.isclose(matrix[0, 1], -matrix[1, 0])  # a similarity


def test_align_finds_a_known_similarity_in_spite_of_one_wrong_landmark(photo: np.ndarray) -> None:
    angle = np.deg2rad(20)
    known = 2 * np.array([[np.cos(angle), -np.sin(angle), -30], [np.sin(angle), np.cos(angle), -90]])
    points = landmarks_at(known)
    points[2] += 40
    assert np.allclose(align(photo, points, 512)[1], known, atol=1e-6)


def test_align_mirrors_the_photo_beyond_its_edge(photo: np.ndarray) -> None:
    crop, _ = align(photo, TEMPLATE - [200, 0], 512)  # the crop begins 200 px left of the photo
    assert np.array_equal(crop[:, 200:], photo[:, :312])
    assert np.array_equal(crop[:, 199:100:-1], photo[:, 1:100])


def test_align_does_not_alias_when_a_face_is_larger_than_the_crop() -> None:
    stripes = np.zeros((1024, 1024, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    crop, _ = align(stripes, TEMPLATE * 2, 128)  # eight photo pixels for each of the crop's
    assert np.abs(crop[8:-8, 8:-8].astype(int) - 100).max() <= 1


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.zeros((4, 2)), np.full((5, 2), np.nan)])
def test_align_refuses_landmarks_without_a_face(photo: np.ndarray, points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="landmarks"):
        align(photo, points, 256)


def test_paste_leaves_pixels_outside_the_mask_bit_identical(photo: np.ndarray) -> None:
    _, matrix = align(photo, LANDMARKS, 256)
    pasted = photo.copy()
    paste(pasted, np.full((256, 256, 3), 255, dtype=np.uint8), matrix)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / 256
    v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / 256
    radius = np.hypot((u - 0.5) / 0.40, (v - 0.52) / 0.46)
    assert np.array_equal(pasted[radius >= 1], photo[radius >= 1])
    assert (pasted[radius < 0.74] == 255).all()
    assert radius[np.any(pasted != photo, axis=2)].max() > 0.9  # it fades out, without a hard edge inside


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.5])
def test_paste_of_an_unchanged_crop_is_nearly_invisible(photo: np.ndarray, scale: float) -> None:
    angle = np.deg2rad(7)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    matrix = np.column_stack([turn, 256 - turn @ [256, 256]])
    blur = 2 / min(scale, 1)  # no detail that the crop cannot hold
    smooth = skimage.filters.gaussian(photo, blur, channel_axis=2, preserve_range=True).round().astype(np.uint8)
    crop, matrix = align(smooth, landmarks_at(matrix), 512)
    pasted = smooth.copy()
    paste(pasted, crop, matrix)
    difference = np.abs(pasted.astype(int) - smooth)
    # A shift by half a pixel would show at every edge.
    assert difference[8:-8, 8:-8].max() <= 6 and difference.mean() < 0.6


def test_paste_does_not_alias_when_the_crop_is_larger_than_the_face() -> None:
    photo = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    paste(photo, stripes, np.array([[8, 0, 0], [0, 8, 0]], dtype=np.float64))
    assert np.abs(photo[30:36, 30:36].astype(int) - 100).max() <= 1


def test_paste_at_the_edge_of_the_photo_leaves_no_dark_border() -> None:
    photo = np.full((100, 100, 3), 180, dtype=np.uint8)
    crop, matrix = align(photo, landmarks_at(np.array([[4.0, 0, 200], [0, 4.0, 150]])), 512)
    paste(photo, np.full_like(crop, 180), matrix)
    assert (photo == 180).all()


def turned(angle: float, scale: float, at: tuple[float, float], size: int) -> np.ndarray:
    """The matrix, photo to crop, of a crop whose middle is at a given place in the photo."""
    radian = np.deg2rad(angle)
    turn = np.array([[np.cos(radian), -np.sin(radian)], [np.sin(radian), np.cos(radian)]]) * scale
    return np.column_stack([turn, (size - 1) / 2 - turn @ np.array(at)])


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_sixteen_bits_and_any_bands_are_cut_and_pasted_alike(photo: np.ndarray, bands: int) -> None:
    rgba = np.concatenate([photo, photo[..., ::-1]], axis=2).astype(np.uint16) * 257
    fine = rgba[..., :bands]  # a view: the bands of a pixel are not adjacent in memory
    crop, matrix = align(fine, LANDMARKS, 256)
    assert crop.dtype == np.uint16 and crop.shape == (256, 256, bands)
    eight = align(photo, LANDMARKS, 256)[0]
    assert np.abs(crop[..., 0] / 257 - eight[..., 0]).max() <= 0.51  # and the rounding of each
    assert np.abs(cut(fine, matrix, 256) - crop).max() <= 0.5
    before = rgba.copy()
    paste(fine, np.full((256, 256, bands), 40001, np.uint16), matrix)
    assert (fine[125, 223] == 40001).all()
    assert np.array_equal(rgba[..., bands:], before[..., bands:])
    changed = (rgba != before).any(axis=2)
    assert 0 < changed.mean() < 0.2


def test_values_are_rounded_and_clipped_to_the_type() -> None:
    photo = np.full((64, 64, 1), 100, np.uint8)
    crop = np.full((64, 64, 1), 300, np.float32)
    crop[:, :32] = 99.6
    paste(photo, crop, np.eye(2, 3))
    assert (photo[32, 15], photo[32, 48]) == (100, 255)


@pytest.mark.parametrize("at", [(120, 90), (2, 80), (299, 80), (120, 1), (310, 215), (-60, 100)])
@pytest.mark.parametrize("scale", [2.0, 0.9, 0.26])
def test_a_crop_is_cut_from_its_part_of_the_photo_as_from_all_of_it(
    photo: np.ndarray, at: tuple[int, int], scale: float
) -> None:
    picture = photo[50:270, 100:400]
    if scale < 0.5:  # no detail: averaged blocks of 3 x 3 pixels begin elsewhere and are mirrored as a whole
        picture = cv2.GaussianBlur(picture, (0, 0), 20)
    matrix = turned(17, scale, at, 64)
    continued = cv2.copyMakeBorder(picture, 500, 500, 500, 500, cv2.BORDER_REFLECT_101)
    expected = cut(continued, compose(matrix, np.array([[1, 0, -500], [0, 1, -500.0]])), 64)  # type: ignore[arg-type]
    difference = np.abs(cut(picture, matrix, 64) - expected)
    assert difference.max() <= (15 if scale < 0.5 else 0.5)


@pytest.mark.parametrize("at", [(900, -700), (-5000, 100), (1e5, 1e5)])
def test_a_crop_far_outside_the_photo_shows_some_of_it(photo: np.ndarray, at: tuple[float, float]) -> None:
    crop = cut(photo, turned(17, 0.9, at, 64), 64)
    assert crop.shape == (64, 64, 3) and crop.min() >= 0 and crop.max() <= 255


def test_a_photo_wider_than_opencv_warps() -> None:
    photo = np.zeros((40, 40000, 3), np.uint8)
    photo[:, 39000:39100] = 200
    matrix = turned(0, 1, (39050, 20), 32)
    assert (cut(photo, matrix, 32) == 200).all()
    paste(photo, np.full((32, 32, 3), 90, np.uint8), matrix)
    assert (photo[20, 39050] == 90).all() and (photo[:, :39000] == 0).all()


@pytest.mark.parametrize("mask", [None, np.full((256, 256), 255, np.uint8), SQUARE])
def test_a_large_face_is_pasted_in_strips_as_at_once(
    photo: np.ndarray, mask: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = photo[:256, :256]
    at_once, in_strips = photo.copy(), photo.copy()
    paste(at_once, crop, turned(30, 0.8, (250, 250), 256), mask)
    monkeypatch.setattr(pasting, "STRIP", 7)
    paste(in_strips, crop, turned(30, 0.8, (250, 250), 256), mask)
    # OpenCV counts places in 1/32 px from the first line of a strip.
    assert np.abs(at_once.astype(int) - in_strips).max() <= 12
    assert np.abs(at_once.astype(int) - in_strips).mean() < 0.2


def half_disc(size: int) -> np.ndarray:
    """A parsing mask: a disc, cut off straight on the right."""
    y, x = np.mgrid[:size, :size] / size
    return np.where((np.hypot(x - 0.5, y - 0.5) < 0.3) & (x < 0.6), 255, 0).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_a_parsing_mask_lies_where_the_face_is(scale: float) -> None:
    photo, size = np.full((700, 700, 1), 10000, np.uint16), 256
    matrix = turned(25, scale, (340, 360), size)
    paste(photo, np.full((size, size, 1), 60000, np.uint16), matrix, half_disc(size))
    weight = (photo[..., 0].astype(float) - 10000) / 50000
    y, x = np.mgrid[:700, :700]
    u, v = ((row[0] * x + row[1] * y + row[2]) / size for row in matrix)
    inside = np.where((np.hypot(u - 0.5, v - 0.5) < 0.3) & (u < 0.6), 1, 0)
    assert abs(weight.sum() / inside.sum() - 1) < 0.02
    for mean in (lambda values: (u * values).sum() / values.sum(), lambda values: (v * values).sum() / values.sum()):
        assert mean(weight) == pytest.approx(mean(inside), abs=0.002)
    depth = np.minimum(0.3 - np.hypot(u - 0.5, v - 0.5), 0.6 - u)  # of a place inside the half disc
    assert weight[depth > 0.1].min() > 0.99 and weight[depth < -0.13].max() == 0
    assert 0.4 < weight[np.abs(depth) < 0.01].mean() < 0.6


@pytest.mark.parametrize("mask", [None, np.full((256, 256), 255, np.uint8), half_disc(256)])
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_no_edge_shows_however_far_the_mask_reaches(mask: np.ndarray | None, scale: float) -> None:
    photo = np.full((900, 900, 1), 10000, np.uint16)
    paste(photo, np.full((256, 256, 1), 60000, np.uint16), turned(25, scale, (450, 450), 256), mask)
    step = max(np.abs(np.diff(photo[..., 0].astype(float) / 50000, axis=axis)).max() for axis in (0, 1))
    # In pixels of the crop the fade takes at least its thirtieth part, 8 px.
    assert step < 0.12 * max(scale, 1) and step < 0.35


@pytest.mark.parametrize("beyond", [0, 255])
def test_a_face_that_the_photo_cuts_off_is_restored_up_to_the_edge(beyond: int) -> None:
    photo, size = np.full((300, 300, 1), 10, np.uint8), 256
    matrix = turned(8, 1, (0, 150), size)  # half of the crop lies left of the photo
    mask = np.full((size, size), 255, np.uint8)
    inside = cut(np.full((300, 300, 1), 1, np.uint8), matrix, size)
    assert inside.min() == 1  # mirrored
    x = np.array([invert(matrix) @ [u, v, 1] for v in range(size) for u in range(size)])[:, 0].reshape(size, size)
    mask[x < -0.5] = beyond
    paste(photo, np.full((size, size, 1), 210, np.uint8), matrix, mask)
    assert (photo[70:230, 0] == 210).all()
    assert photo[70:230, :100].min() == 210
    v, u = np.mgrid[:300, :300]
    places = np.stack([row[0] * u + row[1] * v + row[2] for row in matrix])
    assert (photo[(places.min(0) < -0.5) | (places.max(0) > size - 0.5)] == 10).all()


def test_a_crop_larger_than_the_photo_is_pasted_everywhere() -> None:
    photo = np.full((50, 60, 3), 10, np.uint8)
    paste(photo, np.full((256, 256, 3), 210, np.uint8), turned(0, 1, (30, 25), 256), np.full((256, 256), 255, np.uint8))
    assert (photo == 210).all()


def test_an_empty_parsing_mask_changes_nothing(photo: np.ndarray) -> None:
    pasted = photo.copy()
    paste(pasted, np.zeros((256, 256, 3), np.uint8), turned(5, 1, (250, 250), 256), np.zeros((256, 256), np.uint8))
    assert np.array_equal(pasted, photo)


def test_of_overlapping_faces_the_last_lies_on_top() -> None:
    photo = np.zeros((200, 200, 1), np.uint8)
    for value, x in ((100, 80), (200, 120)):
        paste(photo, np.full((128, 128, 1), value, np.uint8), turned(0, 1, (x, 100), 128))
    assert (photo[100, 120], photo[100, 90], photo[100, 50]) == (200, 200, 100)


@pytest.mark.parametrize("side", [64, 40, 130, 1024])
def test_an_aligned_photo_is_replaced_to_its_borders(side: int) -> None:
    photo = np.zeros((side, side, 3), np.uint8)
    matrix = whole(side, side, 64)
    paste(photo, np.full((64, 64, 3), 200, np.uint8), matrix, SQUARE)
    assert (photo == 200).all()


def test_an_aligned_photo_of_the_models_size_is_its_own_crop(photo: np.ndarray) -> None:
    matrix = whole(512, 512, 512)
    assert np.array_equal(cut(photo, matrix, 512), photo)
    black = np.zeros_like(photo)
    paste(black, photo, matrix, SQUARE)
    assert np.array_equal(black, photo)
    assert np.allclose(whole(1024, 1024, 512) @ [511.5, 0.5, 1], [255.5, 0])
    with pytest.raises(ValueError, match="512 x 300 px is not square"):
        whole(512, 300, 512)


def test_a_face_in_an_enlarged_photo_lies_where_it_lay(photo: np.ndarray) -> None:
    crop, matrix = align(photo, LANDMARKS, 256)
    restored = np.full_like(crop, 255)
    small, large = photo.copy(), photo.repeat(4, axis=0).repeat(4, axis=1)
    paste(small, restored, matrix)
    paste(large, restored, scaled(matrix, 4))
    reduced = large.reshape(512, 4, 512, 4, 3).mean((1, 3))
    assert np.abs(reduced - small).max() <= 3
    assert np.array_equal(scaled(matrix, 1), matrix)


@pytest.mark.parametrize("shape", [(64, 32, 3), (64, 64, 4)])
def test_paste_refuses_other_crops(photo: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(S, S, 3\)"):
        paste(photo, np.zeros(shape, np.uint8), np.eye(2, 3))


def test_paste_of_a_face_outside_the_photo_changes_nothing(photo: np.ndarray) -> None:
    before = photo.copy()
    paste(photo, np.zeros((64, 64, 3), dtype=np.uint8), np.array([[1, 0, 5000], [0, 1, 0]], dtype=np.float64))
    assert np.array_equal(photo, before)


def test_compose_and_invert_cancel() -> None:
    matrix = np.array([[1.5, -0.2, 7], [0.2, 1.5, -3]])
    assert np.allclose(compose(matrix, invert(matrix)), np.eye(2, 3))


def test_suppress_keeps_the_best_of_overlapping_faces_in_a_fixed_order() -> None:
    def face(box: tuple[float, float, float, float], score: float) -> Face:
        return Face(box, LANDMARKS, score)

    big, inside, apart = face((0, 0, 10, 10), 0.8), face((2, 2, 6, 6), 0.7), face((20, 0, 30, 10), 0.8)
    assert suppress([inside, apart, big]) == [big, apart]


def test_eye_distance_is_between_the_first_two_landmarks() -> None:
    assert Face((0, 0, 1, 1), LANDMARKS, 1.0).eye_distance == pytest.approx(np.hypot(44, 2))


def test_how_far_landmarks_are_from_those_of_a_face() -> None:
    turned = TEMPLATE @ np.array([[0.6, 0.8], [-0.8, 0.6]]) * 0.3 + (50, 900)
    assert landmark_error(TEMPLATE) < 1e-6 and landmark_error(turned) < 1e-6
    eyes = np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])
    assert landmark_error(TEMPLATE + [[0, 0], [0, 0], [0, 0.5 * eyes], [0, 0], [0, 0]]) == pytest.approx(0.2, abs=0.03)
    assert landmark_error(TEMPLATE * (1, -1)) > 0.3  # mirrored
    assert landmark_error(np.ones((5, 2))) == float("inf")
