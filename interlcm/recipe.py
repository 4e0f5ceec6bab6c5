"""How the encoders are trained: by default with the numbers of the InterLCM paper (arXiv 2502.02215)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How the encoders are trained. The defaults are the paper's, except for `batch`, which is a usual one.

    Attributes:
        steps: timesteps of the unrolled run, the first included: 4 trains the 3-step variant, 2 the 1-step variant.
        iterations: optimiser steps.
        batch: crops of one iteration, over all workers and micro-batches.
        micro_batch: crops that one worker holds at a time; it accumulates the gradients of several.
        learning_rate, final_learning_rate: Adam's first and last; half a cosine leads from one to the other.
        learning_rate_period: iterations that it takes to get there; a shorter training ends on the way.
        betas: Adam's.
        ema: decay of the moving average of the weights, which is the result.
        pixel_weight, perceptual_weight, adversarial_weight: weights of L1, LPIPS and the hinge loss.
        adversarial_from: first iteration, counted from 1, that trains and uses the discriminator.
        discriminator_layers, discriminator_filters: size of the PatchGAN.
        precision: bfloat16 (autocast; weights stay float32) or float32.
        checkpoint_activations: recompute activations in the backward pass instead of keeping them.
    """

    steps: int = 4
    iterations: int = 15_001
    batch: int = 16
    micro_batch: int = 1
    learning_rate: float = 5e-5
    final_learning_rate: float = 2e-5
    learning_rate_period: int = 150_000
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float = 0.997
    pixel_weight: float = 1.0
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.1
    adversarial_from: int = 10_001
    discriminator_layers: int = 4
    discriminator_filters: int = 64
    precision: str = "bfloat16"
    checkpoint_activations: bool = True

    def learning_rate_at(self, iteration: int) -> float:
        """Cosine annealing (arXiv 1608.03983, equation 5, without restarts); iterations count from 1."""
        share = min(1.0, (iteration - 1) / max(1, self.learning_rate_period))
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * (1 + math.cos(math.pi * share)) / 2
