"""The few timesteps of a latent consistency model, without hidden state, so that training can unroll them.

diffusers' LCMScheduler holds the numbers (betas, boundary scalings); its `step` keeps a counter and draws noise in
the model's dtype, which would make a face depend on its batch and precision. The arithmetic is therefore here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import LCMScheduler

MIN_STEPS, MAX_STEPS = 2, 4


def timesteps(scheduler: LCMScheduler, steps: int) -> list[int]:
    """Timesteps of a run, noisiest first: 4 -> [999, 759, 499, 259]. ValueError unless 2 <= steps <= 4.

    The LQ latent enters at the first one; no network runs there (arXiv 2502.02215, section 3.1).
    """
    if not MIN_STEPS <= steps <= MAX_STEPS:
        raise ValueError(f"steps is {steps}; InterLCM runs with {MIN_STEPS} to {MAX_STEPS}")
    scheduler.set_timesteps(steps)
    return [int(t) for t in scheduler.timesteps]


def add_noise(scheduler: LCMScheduler, clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (arXiv 2006.11239, equation 4); shapes (N, C, h, w)."""
    alpha_bar = scheduler.alphas_cumprod[timestep]  # stays on the CPU: no device waits for a number
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def consistency_estimate(scheduler: LCMScheduler, noisy: Tensor, output: Tensor, timestep: int) -> Tensor:
    """f(x_t, t) = c_skip(t) x_t + c_out(t) x_0(output), the LCM's estimate of x_0 (arXiv 2310.04378, equation 9).

    Args:
        noisy: (N, C, h, w) x_t.
        output: (N, C, h, w) the UNet's prediction: noise or x_0, as `scheduler.config.prediction_type` says.
    """
    alpha_bar = scheduler.alphas_cumprod[timestep]
    match scheduler.config.prediction_type:
        case "epsilon":
            clean = (noisy - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
        case "sample":
            clean = output
        case other:
            raise ValueError(f"prediction_type is {other!r}; an LCM here predicts 'epsilon' or 'sample'")
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition_discrete(timestep)
    return c_skip * noisy + c_out * clean


def face_noise(seeds: Sequence[int], shape: Sequence[int], draws: int) -> Tensor:
    """Noise for each re-noising, drawn face by face: float32 (draws, N, *shape) on the CPU.

    Face i draws in step order from its own `torch.Generator` seeded with `seeds[i]`, so its noise does not depend
    on batch, worker or device.
    """
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    faces = [torch.stack([torch.randn(tuple(shape), generator=g) for _ in range(draws)]) for g in generators]
    return torch.stack(faces, 1)
