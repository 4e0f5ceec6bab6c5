import numpy as np
import pytest
import skimage.data
import skimage.filters

from pipeline.face import TEMPLATE, Face, align, compose, invert, paste, suppress

# Where the astronaut's eyes, nose and mouth corners are, read off the picture (px).
LANDMARKS = np.array([[202, 101], [246, 103], [223, 128], [204, 141], [243, 141]], dtype=np.float32)


@pytest.fixture
def photo() -> np.ndarray:
    return skimage.data.astronaut()


def landmarks_at(matrix: np.ndarray) -> np.ndarray:
    """The landmarks in photo coordinates of a face that `matrix` (2, 3) takes to the 512 px template."""
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
    assert radius[np.any(pasted != photo, axis=2)].max() > 0.9  # it fades out, no hard edge inside


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
