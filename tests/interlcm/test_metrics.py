import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from interlcm.metrics import cast, delta_e, psnr, sharpness, ssim

FACE = skimage.data.astronaut()[60:188, 160:288]


def with_grain(sigma: float) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, sigma, FACE.shape)
    return (FACE + grain).clip(0, 255).round().astype(np.uint8)


def test_psnr_is_the_formula() -> None:
    grey = np.full((16, 16, 3), 100, dtype=np.uint8)
    assert psnr(grey + 5, grey) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(grey, grey) == float("inf")


def test_ssim_is_one_for_equal_faces_and_falls_with_grain() -> None:
    assert ssim(FACE, FACE) == pytest.approx(1)
    assert 1 > ssim(with_grain(5), FACE) > ssim(with_grain(25), FACE) > 0


def test_ssim_of_two_flat_faces_is_the_luminance_term() -> None:
    dark, light = np.full((32, 32, 3), 50, dtype=np.uint8), np.full((32, 32, 3), 150, dtype=np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 150 + c1) / (50**2 + 150**2 + c1), abs=1e-6)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    point = np.zeros((9, 9, 3), dtype=np.uint8)
    point[4, 4] = 10  # the Laplacian is -40 there and 10 at four neighbours
    assert sharpness(point) == pytest.approx((40**2 + 4 * 10**2) / 81)
    assert sharpness(np.full((9, 9, 3), 77, dtype=np.uint8)) == pytest.approx(0, abs=1e-12)


def test_delta_e_of_grey_steps_and_colours() -> None:
    black, white = np.zeros((8, 8, 3), dtype=np.uint8), np.full((8, 8, 3), 255, dtype=np.uint8)
    assert delta_e(black, black) == 0
    assert delta_e(black, white) == pytest.approx(100, abs=0.1)  # L* from 0 to 100
    sepia = white.copy()
    sepia[..., 2] = 200
    assert 5 < delta_e(sepia, white) < 40


def test_cast_is_a_tint_and_not_grain() -> None:
    assert cast(FACE, FACE) == 0
    assert cast(with_grain(10), FACE) < 0.2 < 5 < delta_e(with_grain(10), FACE)
    grey, tinted = (np.full((8, 8, 3), color, dtype=np.uint8) for color in ((120, 120, 120), (130, 120, 110)))
    assert cast(tinted, grey) == pytest.approx(delta_e(tinted, grey), abs=1e-3)  # even: every pixel is the mean


@pytest.mark.parametrize("other", [with_grain(25), 255 - FACE, FACE[..., ::-1], FACE[::-1]])
def test_delta_e_is_that_of_double_precision(other: np.ndarray) -> None:
    expected = skimage.color.deltaE_ciede2000(skimage.color.rgb2lab(FACE), skimage.color.rgb2lab(other)).mean()
    assert delta_e(np.ascontiguousarray(other), FACE) == pytest.approx(expected, abs=1e-4)


def test_delta_e_of_a_face_higher_than_a_strip_counts_each_line_once() -> None:
    face = skimage.data.astronaut()[:300, :64]  # two strips and a part of one
    other = np.roll(face, 40, axis=0)
    expected = skimage.color.deltaE_ciede2000(skimage.color.rgb2lab(face), skimage.color.rgb2lab(other)).mean()
    assert delta_e(other, face) == pytest.approx(expected, abs=1e-4)


def test_tensors_and_arrays_give_the_same() -> None:
    face, other = torch.from_numpy(FACE.copy()), torch.from_numpy(with_grain(10))
    assert psnr(other, face) == psnr(with_grain(10), FACE)
    assert sharpness(face) == sharpness(FACE)


@pytest.mark.parametrize("wrong", [FACE.astype(np.float32), FACE[..., 0], FACE.transpose(2, 0, 1)])
def test_other_shapes_and_types_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        sharpness(wrong)


def test_faces_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(128, 128, 3\)"):
        psnr(FACE, FACE[:64])


@pytest.mark.parametrize("other", [with_grain(5), with_grain(25), 255 - FACE])
def test_psnr_and_ssim_are_those_of_torchmetrics(other: np.ndarray) -> None:
    one, reference = (
        torch.from_numpy(np.ascontiguousarray(face)).permute(2, 0, 1)[None].double() for face in (other, FACE)
    )
    expected = float(peak_signal_noise_ratio(one, reference, data_range=255.0))
    assert psnr(np.ascontiguousarray(other), FACE) == pytest.approx(expected, abs=1e-4)
    _, similar = structural_similarity_index_measure(
        one, reference, sigma=1.5, data_range=255.0, return_full_image=True
    )
    # Only within: at the edge, torchmetrics mirrors the picture, where the paper's code has no window.
    inside = float(similar[..., 5:-5, 5:-5].mean())
    assert ssim(np.ascontiguousarray(other), FACE) == pytest.approx(inside, abs=1e-4)
