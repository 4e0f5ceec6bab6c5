"""Give a restored face the colours of its input, which is noisy and blurred but has the right tone."""

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR_FIXES = ("wavelet", "adain", "none")
WAVELET_LEVELS = 5
LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, as rounded by torchvision
# Mean variance of channel differences, in squared 8-bit steps, up to which a crop counts as grey.
GREY_VARIANCE = 10.0


def fix_color(restored: Tensor, lq: Tensor, method: str) -> Tensor:
    """Give `restored` the colours of `lq`; both (N, 3, H, W) in [-1, 1]. ValueError for an unknown method."""
    match method:
        case "wavelet":
            return wavelet(restored, lq)
        case "adain":
            return adain(restored, lq)
        case "none":
            return restored
    raise ValueError(f"color_fix is {method!r}; choose one of {', '.join(COLOR_FIXES)}")


def wavelet(restored: Tensor, lq: Tensor) -> Tensor:
    """High frequencies of `restored`, low frequencies of `lq` (StableSR, arXiv 2305.07015, section 3.4).

    Five levels of an undecimated transform; the low frequencies are structure coarser than about 2^5 px.
    """
    return restored - low_frequencies(restored) + low_frequencies(lq)


def low_frequencies(x: Tensor) -> Tensor:
    """(N, C, H, W) smoothed by the binomial kernel with dilation 1, 2, 4, 8, 16; borders replicated."""
    channels = x.shape[1]
    # The binomial filter (1, 2, 1) / 4 along both axes. Made on the device: copying a table there would stall.
    line = torch.ones(3, dtype=x.dtype, device=x.device)
    line[1] = 2
    kernel = (line[:, None] * line / 16).expand(channels, 1, 3, 3)
    for level in range(WAVELET_LEVELS):
        radius = 2**level
        x = F.conv2d(F.pad(x, (radius,) * 4, mode="replicate"), kernel, dilation=radius, groups=channels)
    return x


def adain(restored: Tensor, lq: Tensor, eps: float = 1e-5) -> Tensor:
    """Match mean and standard deviation of each channel to `lq` (arXiv 1703.06868, equation 8)."""
    mean, std = channel_statistics(restored, eps)
    lq_mean, lq_std = channel_statistics(lq, eps)
    return (restored - mean) / std * lq_std + lq_mean


def channel_statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    variance = x.var(dim=(2, 3), keepdim=True, unbiased=True)
    return x.mean(dim=(2, 3), keepdim=True), (variance + eps).sqrt()


def is_grey(lq: Tensor) -> Tensor:
    """(N,) bool: whether the channels of each crop (N, 3, H, W) in [-1, 1] differ by at most a constant tint.

    The rule of the published scripts, for a single crop. A run checks whether the whole photo has one tone instead
    (pipeline/photos/monochrome.py), and calls the model with keep_monochrome=False.
    """
    r, g, b = ((lq.float() + 1) * 127.5).unbind(1)  # 8-bit steps, (N, H, W) each
    differences = torch.stack((r - g, r - b, g - b), 1)
    return differences.var(dim=(2, 3), unbiased=False).mean(1) <= GREY_VARIANCE


def keep_monochrome(restored: Tensor, lq: Tensor) -> Tensor:
    """Replace each face whose input is monochrome by its luma, with the input's mean and deviation; keep other faces.

    A sepia input has a different mean in each channel and so keeps its tint.
    """
    red, green, blue = (weight * channel for weight, channel in zip(LUMA, restored.unbind(1), strict=True))
    toned = adain((red + green + blue)[:, None].expand_as(restored), lq)
    return torch.where(is_grey(lq).view(-1, 1, 1, 1), toned, restored)
