"""Training losses; each gives one scalar, lower is better."""

import torch
from torch import Tensor
from torch.nn import functional as F

from interlcm import schedule
from interlcm.model import InterLCM

# Weight of the Kullback-Leibler term of the VAE (arXiv 2112.10752, appendix G): only keeps latents from drifting.
KL_WEIGHT = 1e-8

# A just visible difference, about 1, counts as much as L1 of 0.02, which is 2.5 steps of 255.
COLOR_WEIGHT = 0.02

EPSILON = 1e-4  # squared colour difference up to which the loss is round at 0

# IEC 61966-2-1: linear sRGB to X, Y, Z, each divided by that of the white point D65.
XYZ_OF_RGB = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
XYZ_OF_RGB = XYZ_OF_RGB / XYZ_OF_RGB.sum(1, keepdim=True)


def autoencoding_loss(model: InterLCM, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """L1 of the VAE's round trip plus a slight KL term; (N, 3, H, W) in [-1, 1].

    `generator` (CPU) draws the posterior's samples.
    """
    posterior = model.vae.encode(pixels).latent_dist
    decoded = model.vae.decode(posterior.sample(generator)).sample
    return F.l1_loss(decoded, pixels) + KL_WEIGHT * posterior.kl().mean()


def consistency_loss(
    model: InterLCM, hq: Tensor, lq: Tensor, timestep: int, earlier: int | None, generator: torch.Generator
) -> Tensor:
    """f(x_t, t) must be f(x_r, r), on the same noise and without a gradient through the latter: consistency training
    (Song et al. 2023, arXiv 2303.01469, equation 10), without a moving average (arXiv 2310.14189, section 3.2).

    Args:
        hq, lq: (N, 3, H, W) in [-1, 1]; the crop is the condition.
        timestep: t, 0 < t < 1000.
        earlier: r < t; None for r = 0, where the boundary condition makes f the clean latent itself.
        generator: on the CPU, draws the noise.
    """
    with torch.no_grad():
        clean = model.encode(hq)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    prompt = model.prompt(lq)

    def estimate(at: int) -> Tensor:
        return model.denoise(schedule.add_noise(model.scheduler, clean, noise, at), at, prompt, lq)

    with torch.no_grad():
        target = clean if earlier is None else estimate(earlier)
    return F.mse_loss(estimate(timestep), target)


def restoration_loss(model: InterLCM, hq: Tensor, lq: Tensor, steps: int, seeds: list[int]) -> Tensor:
    """L1 in pixels, through the decoder and every unrolled step (arXiv 2502.02215, section 3.3, its first term), and
    the colour difference, without which the grain in dark, grey places is worth little to the loss and much to the eye.
    """
    restored = model.decode(model.unroll(lq, steps, seeds))
    return F.l1_loss(restored, hq) + COLOR_WEIGHT * color_difference(restored, hq)


def color_difference(restored: Tensor, hq: Tensor) -> Tensor:
    """Mean CIE94 colour difference (CIE 116-1995), with its chroma weight for hue as well; (N, 3, H, W) in [-1, 1].

    CIEDE2000 refines it, and has kinks that a gradient does not like.
    """
    one, other = lab(restored), lab(hq)
    lightness, a, b = (one - other).unbind(1)
    chroma = other[:, 1:].square().sum(1).sqrt()
    squares = lightness**2 + (a**2 + b**2) / (1 + 0.045 * chroma) ** 2
    return ((squares + EPSILON).sqrt() - EPSILON**0.5).mean()


def lab(rgb: Tensor) -> Tensor:
    """sRGB (N, 3, H, W) in [-1, 1] -> CIE L*a*b* for D65; values outside of the range count as its ends."""
    coded = ((rgb + 1) / 2).clamp(0, 1)
    linear = torch.where(coded <= 0.04045, coded / 12.92, ((coded.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", XYZ_OF_RGB.to(rgb), linear)
    # The clamp keeps the branch that is not taken away from the root's infinite slope at 0.
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-3) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def discriminator_loss(real: Tensor, restored: Tensor) -> Tensor:
    """Hinge loss of a discriminator's logits, any shape (arXiv 1705.02894, equation 4): 2 when it knows nothing."""
    return F.relu(1 - real).mean() + F.relu(1 + restored).mean()


def adversarial_loss(restored: Tensor) -> Tensor:
    """The generator's side of the hinge loss (arXiv 1705.02894): lower when the logits say "real"."""
    return -restored.mean()
