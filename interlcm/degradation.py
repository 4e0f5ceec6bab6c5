"""Synthetic degradation: a sharp face made to look like one in an old scan."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur


@dataclass(frozen=True)
class Degradation:
    """Ranges that `degrade` draws from, uniformly, once for each picture.

    Attributes:
        blur: standard deviation of a Gaussian blur, px.
        downsampling: factor by which the picture is made smaller.
        noise: standard deviation of Gaussian noise, 8-bit steps.
        jpeg: JPEG quality, 1 to 100.
    """

    blur: tuple[float, float] = (0.8, 1.6)
    downsampling: tuple[float, float] = (1.0, 2.0)
    noise: tuple[float, float] = (15.0, 25.0)
    jpeg: tuple[float, float] = (60.0, 90.0)


def degrade(hq: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    """x_lq = ((x_hq * blur) downsampled + noise) as JPEG, brought back to size (GFPGAN, arXiv 2101.04061, equation 9).

    Args:
        hq: (N, 3, H, W) RGB in [-1, 1].
        generator: on the CPU; the same state gives the same pictures.

    Returns:
        (N, 3, H, W) in [-1, 1], of the 8-bit values that a JPEG decoder gives, resized.
    """
    return torch.cat([_degrade_one(picture[None], degradation, generator) for picture in hq])


def _degrade_one(hq: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    def draw(bounds: tuple[float, float]) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=generator))

    height, width = hq.shape[-2:]
    sigma, factor = draw(degradation.blur), draw(degradation.downsampling)
    x = gaussian_blur(hq, 2 * round(3 * sigma) + 1, sigma)
    small = (round(height / factor), round(width / factor))
    x = F.interpolate(x, size=small, mode="bilinear", antialias=True)
    x = x + torch.randn(x.shape, generator=generator) * draw(degradation.noise) / 127.5
    x = jpeg(x, round(draw(degradation.jpeg)))
    return F.interpolate(x, size=(height, width), mode="bicubic").clamp(-1, 1)


def jpeg(x: Tensor, quality: int) -> Tensor:
    """(1, 3, H, W) in [-1, 1] through 8 bits and a JPEG file; its halved chroma also smooths colour noise."""
    pixels = ((x[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    _, file = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.cvtColor(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(decoded).permute(2, 0, 1)[None] / 127.5 - 1
