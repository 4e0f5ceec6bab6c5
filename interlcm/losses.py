"""Training losses; each gives one scalar, lower is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from interlcm import schedule

if TYPE_CHECKING:
    from interlcm.model import InterLCM

# Weight of the Kullback-Leibler term of the VAE (arXiv 2112.10752, appendix G): only keeps latents from drifting.
KL_WEIGHT = 1e-8


def autoencoding_loss(model: InterLCM, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """L1 of the VAE's round trip plus a slight KL term; (N, 3, H, W) in [-1, 1].

    `generator` (CPU) draws the posterior's samples.
    """
    posterior = model.vae.encode(pixels).latent_dist
    decoded = model.vae.decode(posterior.sample(generator)).sample
    return F.l1_loss(decoded, pixels) + KL_WEIGHT * posterior.kl().mean()


def consistency_loss(model: InterLCM, hq: Tensor, lq: Tensor, timestep: int, generator: torch.Generator) -> Tensor:
    """f(x_t, t) must be x_0: the first stage, r = 0, of easy consistency tuning (Geng et al. 2024, arXiv 2406.14548).

    Its later stages make the estimate at t agree with the one at an r > 0; they are not part of the demo recipe.

    Args:
        hq, lq: (N, 3, H, W) in [-1, 1]; `lq` is the condition.
        timestep: t, 0 < t < 1000.
        generator: draws the noise, on the CPU.
    """
    with torch.no_grad():
        clean = model.encode(hq)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    noisy = schedule.add_noise(model.scheduler, clean, noise, timestep)
    return F.mse_loss(model.denoise(noisy, timestep, model.prompt(lq), lq), clean)


def restoration_loss(model: InterLCM, hq: Tensor, lq: Tensor, steps: int, seeds: list[int]) -> Tensor:
    """L1 in pixels, through the decoder and every unrolled step (arXiv 2502.02215, section 3.3, its first term)."""
    return F.l1_loss(model.decode(model.unroll(lq, steps, seeds)), hq)


def discriminator_loss(real: Tensor, restored: Tensor) -> Tensor:
    """Hinge loss of a discriminator's logits, any shape (arXiv 1705.02894, equation 4): 2 before training."""
    return F.relu(1 - real).mean() + F.relu(1 + restored).mean()


def adversarial_loss(restored: Tensor) -> Tensor:
    """The generator's side of the hinge loss (arXiv 1705.02894): lower when the logits say "real"."""
    return -restored.mean()
