"""Synthetic degradation: make a sharp face look like one in an old scan, or remove what a task has to restore."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from interlcm.color_fix import LUMA
from interlcm.pixels import to_pixels, to_tensor
from interlcm.tasks import TASKS


@dataclass(frozen=True)
class Degradation:
    """Ranges from which `degrade` draws uniformly, once for each picture.

    Attributes:
        blur: standard deviation of a Gaussian blur, px.
        downsampling: factor by which the picture is made smaller.
        noise: standard deviation of Gaussian noise, 8-bit steps.
        jpeg: JPEG quality, 1 to 100.
        kernel: side of the blur's kernel, odd, px; None: three deviations on each side.
        anisotropic: probability that a blur has two independent deviations and a direction. It needs a `kernel`.
        linear: resize both ways like OpenCV's INTER_LINEAR, which aliases fine detail; otherwise antialiased down and
            bicubic up.
        share: share of the pictures, relative to the other degradations of a list.
    """

    blur: tuple[float, float] = (0.8, 1.6)
    downsampling: tuple[float, float] = (1.0, 2.0)
    noise: tuple[float, float] = (15.0, 25.0)
    jpeg: tuple[float, float] = (60.0, 90.0)
    kernel: int | None = None
    anisotropic: float = 0.0
    linear: bool = False
    share: float = 1.0


# The usual training degradations of blind face restoration: GFPGAN's model with the ranges of CodeFormer (arXiv
# 2206.11253), which InterLCM adopted, and a version for faces in a very bad state.
PUBLISHED = Degradation((0.1, 10), (1, 12), (0, 15), (60, 100), kernel=41, anisotropic=0.5, linear=True)
PUBLISHED_LARGE = Degradation((1, 15), (4, 30), (0, 20), (30, 80), kernel=41, anisotropic=0.5, linear=True)


def lq_for(task: str, hq: Tensor, degradations: Sequence[Degradation], generator: torch.Generator) -> Tensor:
    """Make a task's input from a sharp face.

    Args:
        task: restore; colorize: luma in all three channels; inpaint: white brush strokes over the face.
        hq: (3, H, W) RGB in [-1, 1].
        degradations: one of these, drawn by its share, is applied first; may be empty.
        generator: on the CPU; the same state gives the same picture.

    Returns:
        (3, H, W) in [-1, 1].
    """
    lq = hq
    if degradations:
        shares = torch.tensor([one.share for one in degradations], dtype=torch.float32)
        lq = degrade(hq[None], degradations[int(torch.multinomial(shares, 1, generator=generator))], generator)[0]
    match task:
        case "restore":
            return lq
        case "colorize":
            return torch.einsum("c,chw->hw", torch.tensor(LUMA), lq).expand_as(lq)
        case "inpaint":
            return torch.where(brush_strokes(lq.shape[-2], lq.shape[-1], generator), torch.ones(()), lq)
        case other:
            raise ValueError(f"task is {other!r}; there is {', '.join(TASKS)}")


def degrade(hq: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    """x_lq = ((x_hq * blur) downsampled + noise) as JPEG, brought back to size (GFPGAN, arXiv 2101.04061, equation 9).

    Args:
        hq: (N, 3, H, W) RGB in [-1, 1].
        generator: on the CPU; the same state gives the same pictures.

    Returns:
        (N, 3, H, W) in [-1, 1]: the 8-bit values of a JPEG decoder, resized.
    """
    return torch.cat([_degrade_one(picture[None], degradation, generator) for picture in hq])


def _degrade_one(hq: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    height, width = hq.shape[-2:]
    sigma, factor = _draw(degradation.blur, generator), _draw(degradation.downsampling, generator)
    if degradation.kernel is None:
        x = gaussian_blur(hq, sigma)
    else:
        x = _blur(hq, _kernel(degradation.kernel, sigma, degradation, generator))
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    x = F.interpolate(x, size=small, mode="bilinear", antialias=not degradation.linear)
    x = x + torch.randn(x.shape, generator=generator) * _draw(degradation.noise, generator) / 127.5
    x = jpeg(x, round(_draw(degradation.jpeg, generator)))
    up = "bilinear" if degradation.linear else "bicubic"
    return F.interpolate(x, size=(height, width), mode=up).clamp(-1, 1)


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    """A picture (1, C, H, W), float32, blurred by a Gaussian of `sigma` px that ends after three sigma; the edges are
    mirrored.

    Bit for bit what torchvision's function of this name gives. The import of torchvision is slow, because it brings
    PyTorch's compiler, and every process that degrades crops would need it.
    """
    reach, channels = round(3 * sigma), picture.shape[1]
    weights = torch.exp(-0.5 * (torch.linspace(-reach, reach, 2 * reach + 1) / sigma).pow(2))
    weights = weights / weights.sum()
    kernel = torch.mm(weights[:, None], weights[None, :]).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(picture, (reach, reach, reach, reach), mode="reflect"), kernel, groups=channels)


def _draw(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=generator))


def _kernel(size: int, sigma: float, degradation: Degradation, generator: torch.Generator) -> Tensor:
    """(size, size), sum 1: a Gaussian, round or, with probability `anisotropic`, an ellipse in any direction."""
    other, angle = sigma, 0.0
    if _draw((0, 1), generator) < degradation.anisotropic:
        other, angle = _draw(degradation.blur, generator), _draw((-math.pi, math.pi), generator)
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    weights = torch.exp(-0.5 * ((along / sigma) ** 2 + (across / other) ** 2))
    return weights / weights.sum()


def _blur(picture: Tensor, kernel: Tensor) -> Tensor:
    """(1, 3, H, W) convolved with a kernel of any size, by Fourier transform where that is faster; mirrored edges."""
    pixels = np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
    blurred = cv2.filter2D(pixels, -1, kernel.numpy(), borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(np.asarray(blurred)).permute(2, 0, 1)[None]


def jpeg(x: Tensor, quality: int) -> Tensor:
    """(1, 3, H, W) in [-1, 1] through 8 bits and a JPEG file; its halved chroma also smooths colour noise."""
    _, file = cv2.imencode(
        ".jpg", cv2.cvtColor(to_pixels(x[0]), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = cv2.cvtColor(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return to_tensor(decoded)[None]


# Free-form masks of DeepFill v2 (arXiv 1806.03589, appendix, algorithm 1) with its sizes, which are for 256 px.
STROKES, VERTICES, STROKE_LENGTH, STROKE_WIDTH = (1, 4), (4, 12), (20, 80), (12, 40)
MEAN_ANGLE, ANGLE_RANGE = 2 * math.pi / 5, 2 * math.pi / 15


def brush_strokes(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(H, W) bool: random zigzag strokes of a round brush, a fifth of the picture or more."""

    def between(bounds: tuple[int, int]) -> int:
        return int(torch.randint(bounds[0], bounds[1] + 1, (), generator=generator))

    mask = np.zeros((height, width), np.uint8)
    scale = max(height, width) / 256
    for _ in range(between(STROKES)):
        x, y = _draw((0, width), generator), _draw((0, height), generator)
        brush = round(between(STROKE_WIDTH) * scale)
        for vertex in range(between(VERTICES)):
            angle = _draw((MEAN_ANGLE - ANGLE_RANGE, MEAN_ANGLE + ANGLE_RANGE), generator)
            turned = 2 * math.pi - angle if vertex % 2 == 0 else angle  # back and forth
            length = between(STROKE_LENGTH) * scale
            to_x, to_y = x + length * math.cos(turned), y + length * math.sin(turned)
            to_x, to_y = min(max(to_x, 0), width), min(max(to_y, 0), height)
            cv2.line(mask, (round(x), round(y)), (round(to_x), round(to_y)), 1, max(1, brush))
            x, y = to_x, to_y
    return torch.from_numpy(mask).bool()
