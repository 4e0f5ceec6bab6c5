"""Training loops: a VAE, a consistency model on its latents, then the two encoders through the unrolled steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interlcm import losses
from interlcm.degradation import Degradation, degrade
from interlcm.errors import TrainingError

if TYPE_CHECKING:
    from interlcm.model import InterLCM

DRAWS_APART = 1_000_003  # after so many steps a run draws like the one with the next seed


@dataclass(frozen=True)
class Stage:
    """One stage's settings.

    Attributes:
        steps: optimiser steps.
        batch: crops per step.
        size: side of the training crops, px.
        lr: Adam's peak learning rate; a cosine lowers it to a twentieth.
        ema: decay of the moving average of the weights, which is the stage's result.
        warmup: steps in which the rate rises to its peak; full steps at once would spoil the initial weights.
    """

    steps: int
    batch: int
    size: int
    lr: float
    ema: float = 0.997
    warmup: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, as a share of `lr`."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return min(1.0, (step + 1) / (self.warmup + 1)) * (0.05 + 0.95 * cosine)


@dataclass
class Crops:
    """Batches of (hq, lq) crops from whole pictures.

    Attributes:
        pictures: (3, H, W) uint8 RGB each; pictures are drawn by their weights.
        weights: one per picture.
        seed: seed of everything that training draws. Each step has its own generator, so that a stopped run
            continues as if it had never stopped.
    """

    pictures: Sequence[Tensor]
    weights: Sequence[float]
    degradation: Degradation = field(default_factory=Degradation)
    seed: int = 0

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * DRAWS_APART + step)

    def batch(self, stage: Stage, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(batch, 3, size, size) in [-1, 1], twice: sharp and degraded."""
        weights = torch.tensor(self.weights, dtype=torch.float32)
        drawn = torch.multinomial(weights, stage.batch, replacement=True, generator=generator)
        hq = torch.stack([self.crop(self.pictures[i], stage.size, generator) for i in drawn.tolist()])
        return hq, degrade(hq, self.degradation, generator)

    def crop(self, picture: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """A random square, 0.6 to 1.6 times `size` in the picture, resized, flipped, sometimes grey."""

        def draw() -> float:
            return float(torch.rand((), generator=generator))

        height, width = picture.shape[1:]
        side = min(round(size * (0.6 + draw())), height, width)
        y, x = round(draw() * (height - side)), round(draw() * (width - side))
        square = picture[None, :, y : y + side, x : x + side].float() / 127.5 - 1
        square = F.interpolate(square, size=(size, size), mode="bicubic", antialias=True)[0].clamp(-1, 1)
        if draw() < 0.5:
            square = square.flip(2)
        if draw() < 0.3:  # much of an archive is monochrome
            return square.mean(0, keepdim=True).expand(3, -1, -1)
        # A few pictures have few colours; swapping channels adds more.
        return square[torch.randperm(3, generator=generator)]


Report = Callable[[int, float], None]  # step, loss averaged since the last report
REPORT_EVERY = 50
STEP_MIX = (2, 3, 4, 4)  # unrolled steps in training: the default of 4 half of the time, the faster settings otherwise
# Those of the LCM's 50 training timesteps that a restoration can use: its last step runs at 259.
TIMESTEPS = range(259, 1000, 20)


def train_vae(model: InterLCM, crops: Crops, stage: Stage, report: Report, unfinished: Path | None = None) -> None:
    """Train `model.vae` to reproduce sharp crops."""

    def loss(step: int) -> Tensor:
        generator = crops.generator(step)
        hq, _ = crops.batch(stage, generator)
        return losses.autoencoding_loss(model, hq.to(model.device), generator)

    optimise(model, ["vae"], loss, stage, report, unfinished)


def train_prior(model: InterLCM, crops: Crops, stage: Stage, report: Report, unfinished: Path | None = None) -> None:
    """Train the consistency model with the degraded crop as its condition; UNet and CLIP stay frozen afterwards."""

    def loss(step: int) -> Tensor:
        generator = crops.generator(step)
        hq, lq = crops.batch(stage, generator)
        timestep = TIMESTEPS[int(torch.randint(len(TIMESTEPS), (), generator=generator))]
        return losses.consistency_loss(model, hq.to(model.device), lq.to(model.device), timestep, generator)

    optimise(model, ["unet", "spatial_encoder", "visual_encoder", "clip"], loss, stage, report, unfinished)


def train_encoders(model: InterLCM, crops: Crops, stage: Stage, report: Report, unfinished: Path | None = None) -> None:
    """Train visual and spatial encoder through the unrolled steps with a pixel loss; freeze all else."""

    def loss(step: int) -> Tensor:
        generator = crops.generator(step)
        hq, lq = crops.batch(stage, generator)
        steps = STEP_MIX[int(torch.randint(len(STEP_MIX), (), generator=generator))]
        seeds = torch.randint(2**31, (stage.batch,), generator=generator).tolist()
        return losses.restoration_loss(model, hq.to(model.device), lq.to(model.device), steps, seeds)

    optimise(model, ["visual_encoder", "spatial_encoder"], loss, stage, report, unfinished)


def optimise(
    model: InterLCM,
    parts: Sequence[str],
    loss: Callable[[int], Tensor],
    stage: Stage,
    report: Report,
    unfinished: Path | None = None,
) -> None:
    """Adam on exactly the named parts of `model`, all others frozen, gradient norm clipped to 1.

    In the end the parts hold the moving average of their weights. Raises TrainingError if the loss is not finite.

    Args:
        loss: loss of a step; its random numbers depend on the step's number alone.
        unfinished: file to which each report saves all state; training continues from it if it exists.
    """
    trained = nn.ModuleList(getattr(model, part) for part in parts)
    average = copy.deepcopy(trained)
    model.requires_grad_(False)
    trained.requires_grad_(True)
    parameters = list(trained.parameters())
    optimiser = torch.optim.Adam(parameters, lr=stage.lr, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, stage.rate)
    state = {"trained": trained, "average": average, "optimiser": optimiser, "decay": decay}
    start = load_state(unfinished, state) if unfinished is not None and unfinished.exists() else 0
    recent: list[float] = []
    for step in range(start, stage.steps):
        value = loss(step)
        number = float(value.detach())
        if not math.isfinite(number):
            where = f"at step {step} of {', '.join(parts)}"
            raise TrainingError(f"the loss is {number} {where}; lower lr {stage.lr}")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        decay.step()
        # The average reaches back less far while there are few steps.
        fold_in(average, parameters, min(stage.ema, (1 + step) / (10 + step)))
        recent.append(number)
        if len(recent) == REPORT_EVERY or step + 1 == stage.steps:
            report(step + 1, sum(recent) / len(recent))
            recent = []
            if unfinished is not None:
                save_state(unfinished, state, step + 1)
    trained.load_state_dict(average.state_dict())
    model.requires_grad_(False)


def save_state(path: Path, state: dict[str, Any], step: int) -> None:
    """Write the state of modules, optimiser and schedule after `step` steps; whole or not at all."""
    part = path.with_suffix(".part")
    torch.save({name: holder.state_dict() for name, holder in state.items()} | {"step": step}, part)
    part.replace(path)


def load_state(path: Path, state: dict[str, Any]) -> int:
    """Fill `state` from a file of `save_state`; returns the number of steps done."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, holder in state.items():
        holder.load_state_dict(saved[name])
    return int(saved["step"])


@torch.no_grad()
def fold_in(average: nn.Module, parameters: Sequence[Tensor], keep: float) -> None:
    for old, new in zip(average.parameters(), parameters, strict=True):
        old.lerp_(new, 1 - keep)
