"""The synthetic degradation, measured on its output."""

from dataclasses import replace
from typing import Any

import pytest
import skimage.data
import torch
from torch.nn import functional as F
from torchvision.transforms import functional as transforms

from interlcm.degradation import PUBLISHED, PUBLISHED_LARGE, Degradation, brush_strokes, degrade, gaussian_blur, lq_for

CLEAN = Degradation(blur=(0.1, 0.1), downsampling=(1, 1), noise=(0, 0), jpeg=(100, 100))
SHARP = torch.from_numpy(skimage.data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 127.5 - 1


def degraded(hq: torch.Tensor, degradation: Degradation, seed: int = 0) -> torch.Tensor:
    return degrade(hq, degradation, torch.Generator().manual_seed(seed))


def changed(**ranges: Any) -> Degradation:
    """A degradation with only these ranges; all others have almost no effect."""
    return Degradation(**{**vars(CLEAN), **ranges})


def luma(x: torch.Tensor) -> torch.Tensor:
    """(N, H, W) in 8-bit steps. JPEG keeps it in full; it thins out and smooths the colour."""
    return (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1) * 127.5


def psnr(lq: torch.Tensor, hq: torch.Tensor) -> float:
    return float(-10 * torch.log10(((lq - hq) / 2).square().mean()))


def test_shape_and_range() -> None:
    hq = torch.rand(2, 3, 60, 81) * 2 - 1
    lq = degraded(hq, Degradation())
    assert lq.shape == hq.shape and lq.dtype == torch.float32
    assert lq.min() >= -1 and lq.max() <= 1


def test_same_seed_same_picture() -> None:
    torch.manual_seed(1)
    first = degraded(SHARP, Degradation(), seed=5)
    torch.manual_seed(2)  # the global generator has no influence
    assert torch.equal(degraded(SHARP, Degradation(), seed=5), first)
    assert not torch.equal(degraded(SHARP, Degradation(), seed=6), first)


def test_each_picture_draws_for_itself() -> None:
    one, other = degraded(SHARP.expand(2, -1, -1, -1), Degradation())
    assert (one - other).abs().mean() > 0.02
    # The first of a batch is what it would be alone.
    assert torch.equal(one, degraded(SHARP, Degradation())[0])


@pytest.mark.parametrize("sigma", [0.1, 0.8, 1.234, 3.0])
def test_the_blur_is_that_of_torchvision(sigma: float) -> None:
    """To the bit: the crops of a training depend on nothing but its seed, in whatever version it was begun."""
    wanted = transforms.gaussian_blur(SHARP, 2 * round(3 * sigma) + 1, sigma)
    assert torch.equal(gaussian_blur(SHARP, sigma), wanted)
    assert sigma < 0.5 or not torch.equal(wanted, SHARP)


def test_input_is_left_alone() -> None:
    before = SHARP.clone()
    degraded(SHARP, Degradation())
    assert torch.equal(SHARP, before)


def test_without_degradation_next_to_nothing_changes() -> None:
    assert psnr(degraded(SHARP, CLEAN), SHARP) > 35


@pytest.mark.parametrize("sigma", [15.0, 25.0])
def test_noise_has_the_deviation_asked_for(sigma: float) -> None:
    grey = torch.zeros(1, 3, 256, 256)
    # Three channels with weights of luma: sqrt(0.299^2 + 0.587^2 + 0.114^2) of one.
    measured = float(luma(degraded(grey, changed(noise=(sigma, sigma)))).std()) / 0.6686
    assert measured == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("sigma", [0.8, 1.2, 1.6])
def test_blur_has_the_deviation_asked_for(sigma: float) -> None:
    """The derivative of a blurred step is the kernel of the blur."""
    step = torch.full((1, 3, 64, 64), -0.5)
    step[..., 32:] = 0.5
    kernel = luma(degraded(step, changed(blur=(sigma, sigma))))[0, 16:48].mean(0).diff()[16:47]
    kernel = kernel / kernel.sum()
    offsets = torch.arange(31) - 15.0
    assert float((kernel * offsets).sum()) == pytest.approx(0, abs=0.05)
    assert float((kernel * offsets**2).sum().sqrt()) == pytest.approx(sigma, rel=0.05)


def test_downsampling_removes_what_is_finer() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 0.5  # one pixel wide: a third of the size cannot show this, and must not alias
    whole, third = (luma(degraded(stripes, changed(downsampling=(by, by)))) for by in (1, 3))
    assert third[:, 8:-8, 8:-8].std() < 0.1 * whole.std()
    broad = F.interpolate(SHARP, size=32, antialias=True, mode="bilinear")
    broad = F.interpolate(broad, size=256, mode="bicubic").clamp(-1, 1)
    assert psnr(degraded(broad, changed(downsampling=(2, 2))), broad) > 35


def test_jpeg_quality_decides_the_loss() -> None:
    results = [psnr(degraded(SHARP, changed(jpeg=(quality, quality))), SHARP) for quality in (20, 60, 90)]
    assert results == sorted(results) and results[0] < 33 < results[2]


def test_default_ranges_look_like_an_old_scan() -> None:
    lq = degraded(SHARP.expand(8, -1, -1, -1), Degradation())
    results = [psnr(one[None], SHARP) for one in lq]
    assert 20 < min(results) < max(results) < 28
    assert max(results) - min(results) > 0.5  # the ranges are drawn from


def test_draws_fill_their_range() -> None:
    grey = torch.zeros(24, 3, 48, 48)
    sigmas = luma(degraded(grey, changed(noise=(10, 30)))).std((1, 2)) / 0.6686
    assert 9 < sigmas.min() < 14 and 26 < sigmas.max() < 31


def test_published_settings() -> None:
    ranges = [(d.blur, d.downsampling, d.noise, d.jpeg) for d in (PUBLISHED, PUBLISHED_LARGE)]
    assert ranges == [
        ((0.1, 10), (1, 12), (0, 15), (60, 100)),
        ((1, 15), (4, 30), (0, 20), (30, 80)),
    ]
    assert PUBLISHED.kernel == PUBLISHED_LARGE.kernel == 41
    mild, strong = (psnr(degraded(SHARP.expand(6, -1, -1, -1), d), SHARP) for d in (PUBLISHED, PUBLISHED_LARGE))
    assert strong + 1 < mild < 32


def spread(direction: int, anisotropic: float, seed: int) -> float:
    """Standard deviation of the blur of a point along an axis, px."""
    point = torch.full((1, 3, 96, 96), -1.0)
    point[..., 48, 48] = 1
    setting = changed(blur=(1.0, 6.0), kernel=41, anisotropic=anisotropic, linear=True)
    weights = (luma(degraded(point, setting, seed))[0] + 127.5).clamp_min(0).sum(direction)
    weights = weights / weights.sum()
    at = torch.arange(96) - 48.0
    return float((weights * at**2).sum().sqrt())


def test_kernels_are_round_or_ellipses() -> None:
    for seed in range(4):
        assert spread(0, 0.0, seed) == pytest.approx(spread(1, 0.0, seed), rel=0.05)
    ratios = [spread(0, 1.0, seed) / spread(1, 1.0, seed) for seed in range(8)]
    assert max(ratios) > 1.2 and min(ratios) < 1 / 1.2


def lq(task: str, seed: int = 0, degradations: tuple[Degradation, ...] = ()) -> torch.Tensor:
    return lq_for(task, SHARP[0], degradations, torch.Generator().manual_seed(seed))


def test_degradations_are_drawn_by_their_share() -> None:
    never = replace(PUBLISHED_LARGE, share=0.0)
    assert torch.equal(lq("restore", 3, (CLEAN, never)), lq("restore", 3, (CLEAN, CLEAN)))
    results = [psnr(lq("restore", seed, (CLEAN, PUBLISHED_LARGE))[None], SHARP) for seed in range(12)]
    assert 2 <= sum(result > 33 for result in results) <= 10
    assert torch.equal(lq("restore"), SHARP[0])


def test_colorization_gets_luma() -> None:
    grey = lq("colorize")
    assert torch.allclose(grey[0], grey[1]) and torch.allclose(grey[0], grey[2])
    assert torch.allclose(grey[:1] * 127.5, luma(SHARP), atol=0.1)


def test_inpainting_gets_white_strokes_and_the_rest_as_it_was() -> None:
    masked = lq("inpaint", seed=1)
    strokes = (masked == 1).all(0)
    assert 0.05 < strokes.float().mean() < 0.95
    assert torch.equal(masked[:, ~strokes], SHARP[0][:, ~strokes])
    with pytest.raises(ValueError, match="task is 'deblur'"):
        lq("deblur")


def test_strokes_cover_a_part_of_every_size() -> None:
    shares = [
        float(brush_strokes(size, size, torch.Generator().manual_seed(seed)).float().mean())
        for size in (64, 512)
        for seed in range(20)
    ]
    assert min(shares) > 0.01 and max(shares) < 0.9
    for small, large in zip(shares[:20], shares[20:], strict=True):  # the same strokes, larger
        assert small == pytest.approx(large, abs=0.05)
