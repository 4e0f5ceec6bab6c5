"""Give a restored face the colours of its input, which is noisy and blurred but has the right tone."""

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR_FIXES = ("wavelet", "adain", "none")
WAVELET_LEVELS = 5
LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, as rounded by torchvision
# Mean variance of channel differences, in squared 8-bit steps, up to which a crop counts as grey.
GREY_VARIANCE = 10.0
# `keep_tone`: levels of lightness at which a tone's chroma is measured, and deviation of the smoothing over them.
TONE_LEVELS, TONE_SMOOTHING, TONE_REACH = 64, 2.0, 6
BT601 = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG uses it; the sum is 1, so equal channels come out unchanged


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

    The rule of the published scripts. A run has a rule of its own, which knows noise and uneven tones
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


def keep_tone(restored: Tensor, lq: Tensor) -> Tensor:
    """The luma of `restored` in the tone of `lq`; both (N, 3, H, W) in [-1, 1], `lq` of whole 8- or 16-bit levels.

    The tone is the mean chroma of `lq` at each luma, so a grey input gives exactly grey. Sums are of whole numbers, so
    a GPU gives the same bits each time, and nothing waits for it.
    """
    levels = ((lq.double() + 1) * 32767.5).round().long().flatten(2)
    red, green, blue = levels.unbind(1)
    bins = (299 * red + 587 * green + 114 * blue) * TONE_LEVELS // 65_535_000
    bins = bins.clamp(max=TONE_LEVELS - 1)
    sums = torch.zeros((len(lq), 4, TONE_LEVELS), dtype=torch.long, device=lq.device)
    counted = torch.cat([levels, torch.ones_like(bins)[:, None]], 1)
    sums = sums.scatter_add_(2, bins[:, None].expand(-1, 4, -1), counted).double()
    line = torch.arange(-TONE_REACH, TONE_REACH + 1, device=lq.device, dtype=torch.double)
    window = torch.exp(-0.5 * (line / TONE_SMOOTHING) ** 2)[None, None]
    smooth = F.conv1d(sums.flatten(0, 1)[:, None], window, padding=TONE_REACH).view_as(sums)
    count = smooth[:, 3:]
    mean = smooth[:, :3] / count.clamp(min=1e-3)
    chroma = across_gaps(mean - bt601(mean)[:, None], count[:, 0] > 1e-3).float() / 65535
    after = bt601((restored.clamp(-1, 1) + 1) / 2)
    place = (after.flatten(1) * TONE_LEVELS - 0.5).clamp(0, TONE_LEVELS - 1)
    return ((after[:, None] + between(chroma, place).view(restored.shape)) * 2 - 1).clamp(-1, 1)


def bt601(picture: Tensor) -> Tensor:
    """(N, 3, ...) to its luma (N, ...)."""
    red, green, blue = (weight * channel for weight, channel in zip(BT601, picture.unbind(1), strict=True))
    return red + green + blue


def across_gaps(values: Tensor, known: Tensor) -> Tensor:
    """Curves (N, C, K), with those values that are not known (N, K) taken from the line between their neighbours."""
    line = torch.arange(known.shape[1], device=known.device).expand_as(known)
    last = line[0, -1]
    before = torch.where(known, line, -1).cummax(1).values
    after = last - torch.where(known, last - line, -1).flip(1).cummax(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after > last, before, after)
    share = (line - before) / (after - before).clamp(min=1)
    low, high = (values.gather(2, one[:, None].expand_as(values)) for one in (before, after))
    return low + (high - low) * share[:, None]


def between(values: Tensor, place: Tensor) -> Tensor:
    """Curves (N, C, K), read off at places (N, P) from 0 to K - 1: (N, C, P), linear between two values."""
    low = place.floor().clamp(max=values.shape[2] - 2).long()
    share = (place - low)[:, None]
    index = low[:, None].expand(-1, values.shape[1], -1)
    return values.gather(2, index) * (1 - share) + values.gather(2, index + 1) * share
