"""Properties of the colour fixes: which frequencies and statistics come from which picture."""

import pytest
import torch
from torch.nn import functional as F

from interlcm import color_fix


def picture(seed: int) -> torch.Tensor:
    """(2, 3, 128, 128) about [-1, 1]: random colours in patches of 16 px, and grain."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand((2, 3, 8, 8), generator=generator) * 1.6 - 0.8
    grain = 0.1 * torch.randn((2, 3, 128, 128), generator=generator)
    return F.interpolate(patches, size=128, mode="bicubic") + grain


def flat(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 128, 128)


def stripes(period: int) -> torch.Tensor:
    """(1, 3, 128, 128): a sine of 0.5 along the width."""
    wave = 0.5 * torch.sin(2 * torch.pi * torch.arange(128) / period)
    return wave.expand(1, 3, 128, 128)


def test_wavelet_of_identical_pictures_is_identity() -> None:
    torch.testing.assert_close(color_fix.wavelet(picture(0), picture(0)), picture(0), atol=1e-6, rtol=0)


def test_wavelet_takes_flat_color_from_the_input_alone() -> None:
    restored, lq, tint = picture(1), picture(2), flat(-0.1, 0.2, 0.4)[..., :1, :1]
    fixed = color_fix.wavelet(restored, lq)
    torch.testing.assert_close(color_fix.wavelet(restored + tint, lq), fixed, atol=1e-6, rtol=0)
    torch.testing.assert_close(color_fix.wavelet(restored, lq + tint), fixed + tint, atol=1e-6, rtol=0)


def test_wavelet_takes_fine_detail_from_the_result_alone() -> None:
    restored, lq, detail = picture(1)[:1], flat(0.3, 0.1, 0.2), stripes(4)
    inner = (..., slice(32, -32), slice(32, -32))  # replicated borders turn the stripes into a low frequency
    fixed = color_fix.wavelet(restored, lq)[inner]
    torch.testing.assert_close(color_fix.wavelet(restored, lq + detail)[inner], fixed, atol=1e-3, rtol=0)
    sharper = color_fix.wavelet(restored + detail, lq)[inner]
    torch.testing.assert_close(sharper, fixed + detail[inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("period", "kept"), [(4, (-0.01, 0.01)), (16, (-0.01, 0.05)), (128, (0.5, 0.95))])
def test_low_frequencies_are_coarser_than_32_px(period: int, kept: tuple[float, float]) -> None:
    wave = stripes(period)
    low = color_fix.low_frequencies(wave)
    share = float((low * wave)[..., 32:-32].mean() / (wave * wave)[..., 32:-32].mean())
    assert kept[0] <= share <= kept[1]


def test_low_frequencies_of_a_point_are_the_kernel() -> None:
    """One level is (1, 2, 1) x (1, 2, 1) / 16; all five keep the sum and spread it over 2 x 31 px."""
    point = torch.zeros((1, 1, 97, 97))
    point[..., 48, 48] = 1
    low = color_fix.low_frequencies(point)[0, 0]
    assert float(low.sum()) == pytest.approx(1, abs=1e-5)
    assert float(low[48, 48 - 31 : 48 + 32].sum()) == pytest.approx(float(low[48].sum()))
    assert float(low[48, 48 - 31]) > 0
    assert float(low[48, 48 - 32]) == 0
    # Variances add: (1, 2, 1) / 4 has 1/2, at dilation d it has d^2 / 2.
    offsets = torch.arange(97) - 48
    variance = float((low.sum(0) * offsets**2).sum())
    assert variance == pytest.approx(sum(4**level for level in range(5)) / 2, rel=1e-4)


def test_flat_pictures_stay_flat_to_the_border() -> None:
    torch.testing.assert_close(color_fix.low_frequencies(flat(0.1, 0.5, -0.9)), flat(0.1, 0.5, -0.9))


def test_adain_matches_statistics_of_each_channel() -> None:
    restored, lq = picture(3), 0.4 * picture(4) + 0.1
    fixed = color_fix.adain(restored, lq)
    torch.testing.assert_close(fixed.mean((2, 3)), lq.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(fixed.std((2, 3)), lq.std((2, 3)), atol=1e-3, rtol=0)
    # Only a gain and an offset per channel: the structure is that of the restored picture.
    ours, theirs = fixed.flatten(2)[1, 2], restored.flatten(2)[1, 2]
    assert float(torch.corrcoef(torch.stack((ours, theirs)))[0, 1]) == pytest.approx(1, abs=1e-5)


def test_variance_is_unbiased() -> None:
    corner = torch.tensor([[[[0.0, 0.0], [0.0, 2.0]]]])  # mean 0.5, squares 3, three degrees of freedom
    mean, deviation = color_fix.channel_statistics(corner, eps=0.44)
    assert (mean.item(), deviation.item()) == pytest.approx((0.5, 1.2))


def test_adain_of_a_flat_picture_is_finite() -> None:
    torch.testing.assert_close(color_fix.adain(flat(0.5, 0, 0), flat(0, 0, 0.5)), flat(0, 0, 0.5))


def test_none_changes_nothing_and_names_are_checked() -> None:
    assert color_fix.fix_color(picture(5), picture(6), "none").equal(picture(5))
    with pytest.raises(ValueError, match="'histogram'; choose one of wavelet, adain, none"):
        color_fix.fix_color(picture(5), picture(6), "histogram")


def test_monochrome_is_told_from_color() -> None:
    colored = picture(7)[:1]
    grey = colored.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    sepia = 0.5 * grey + flat(0.2, 0.05, -0.2)[..., :1, :1]
    # Independent noise of s 8-bit steps in each channel makes differences of variance 2 s^2: 8, then 18.
    grain = torch.randn(grey.shape, generator=torch.Generator().manual_seed(1)) / 127.5
    faces = torch.cat((colored, grey, sepia, grey + 2 * grain, grey + 3 * grain))
    assert color_fix.is_grey(faces).tolist() == [False, True, True, True, False]


def test_keep_monochrome_leaves_color_alone_and_tones_the_rest() -> None:
    restored, lq = picture(8), picture(9)
    sepia = 0.5 * lq[1].mean(0, keepdim=True) + torch.tensor([0.2, 0.05, -0.2]).view(3, 1, 1)
    lq = torch.stack((lq[0], sepia))
    kept = color_fix.keep_monochrome(restored, lq)
    assert torch.equal(kept[0], restored[0])
    assert color_fix.is_grey(kept).tolist() == [False, True]
    torch.testing.assert_close(kept[1].mean((1, 2)), sepia.mean((1, 2)), atol=1e-5, rtol=0)
    luma = (restored[1] * torch.tensor([0.2989, 0.5870, 0.1140]).view(3, 1, 1)).sum(0)
    pair = torch.stack((kept[1, 0].flatten(), luma.flatten()))
    assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(1, abs=1e-4)
