"""Training of the two encoders through the unrolled steps, as the InterLCM paper does (arXiv 2502.02215, section 3.3).

LCM and CLIP are frozen. Everything here depends on the recipe, the iteration and the batch alone. There is no hidden
random state, so a training that continues from a checkpoint gives what it would have given without a stop.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.func import functional_call
from torch.nn import functional as F

from interlcm import losses
from interlcm.demo_training import fold_in
from interlcm.discriminator import PatchDiscriminator
from interlcm.errors import TrainingError
from interlcm.recipe import Recipe

if TYPE_CHECKING:
    from interlcm.model import InterLCM
    from interlcm.perceptual import Perceptual

ENCODERS = ("visual_encoder", "spatial_encoder")


@dataclass(frozen=True)
class MicroBatch:
    """hq, lq: (n, 3, H, W) in [-1, 1]; seeds: one for each crop's noise."""

    hq: Tensor
    lq: Tensor
    seeds: Sequence[int]


class Unrolled(nn.Module):
    """Restoration as one differentiable call, which DistributedDataParallel can wrap."""

    def __init__(self, model: InterLCM, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, lq: Tensor, seeds: Sequence[int]) -> Tensor:
        return self.model.decode(self.model.unroll(lq, self.steps, seeds))


class Judge(nn.Module):
    """Logits of real and restored pictures in one call, for the same reason. Batch norm must not mix them."""

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(real), self.discriminator(restored)


class EncoderTraining:
    """Model, discriminator, optimisers and moving average of one worker.

    Args:
        model: on its device, with the initial encoders.
        recipe: see `Recipe`.
        perceptual: LPIPS; needed unless its weight is 0.
        wrap: makes a module distributed, such as DistributedDataParallel, so that gradients are means over workers.
        seed: seed of the discriminator's initial weights.
    """

    def __init__(
        self,
        model: InterLCM,
        recipe: Recipe,
        perceptual: Perceptual | None = None,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
        seed: int = 0,
    ) -> None:
        if recipe.perceptual_weight and perceptual is None:
            raise ValueError(f"perceptual_weight is {recipe.perceptual_weight}, but there is no perceptual network")
        self.model, self.recipe, self.iteration = model.requires_grad_(False).eval(), recipe, 0
        self.perceptual = perceptual.to(model.device) if perceptual else None
        self.encoders = nn.ModuleDict({name: getattr(model, name) for name in ENCODERS})
        self.encoders.requires_grad_(True)
        self.average = copy.deepcopy(self.encoders).requires_grad_(False)
        if recipe.checkpoint_activations:
            for network in (model.unet, model.spatial_encoder, model.vae):
                network.enable_gradient_checkpointing()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = PatchDiscriminator(recipe.discriminator_layers, recipe.discriminator_filters)
        self.discriminator.to(model.device)
        self._restorer, self._judge = wrap(Unrolled(model, recipe.steps)), wrap(Judge(self.discriminator))
        self._parameters = list(self.encoders.parameters())
        self._optimiser = self._adam(self._parameters)
        self._discriminator_optimiser = self._adam(list(self.discriminator.parameters()))

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=self.recipe.learning_rate, betas=self.recipe.betas)

    def step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """One iteration over this worker's part of the batch: the encoders, then the discriminator.

        Returns:
            pixel, perceptual, adversarial, discriminator (those in use) and total: means over all workers.
            TrainingError, on every worker, if one of them is not finite.
        """
        self.iteration += 1
        adversarial = self.recipe.adversarial_weight > 0 and self.iteration >= self.recipe.adversarial_from
        rate = self.recipe.learning_rate_at(self.iteration)
        restored, means = self._encoder_gradients(micro_batches, adversarial)
        found = self._checked(means)
        self._apply(self._optimiser, rate)
        fold_in(self.average, self._parameters, self.recipe.ema)
        if adversarial:
            judged = self._checked(self._discriminator_gradients(micro_batches, restored))
            self._apply(self._discriminator_optimiser, rate)
            found |= judged
        return found

    def _encoder_gradients(
        self, micro_batches: Sequence[MicroBatch], adversarial: bool
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Accumulate the encoders' gradients; returns the restored crops, detached, and the means of the losses."""
        restored: list[Tensor] = []
        means: dict[str, Tensor] = {}
        for number, one in enumerate(micro_batches):
            with _synchronised(self._restorer, number == len(micro_batches) - 1):
                with self.autocast():
                    output = self._restorer(one.lq, one.seeds)
                terms = self._terms(output, one.hq, adversarial)
                (terms["total"] / len(micro_batches)).backward()
            restored.append(output.detach())
            _add(means, terms, len(micro_batches))
        return restored, means

    def _terms(self, restored: Tensor, hq: Tensor, adversarial: bool) -> dict[str, Tensor]:
        recipe = self.recipe
        terms = {"pixel": F.l1_loss(restored, hq)}
        total = recipe.pixel_weight * terms["pixel"]
        if recipe.perceptual_weight and self.perceptual is not None:
            terms["perceptual"] = self.perceptual(restored, hq).mean()
            total = total + recipe.perceptual_weight * terms["perceptual"]
        if adversarial:
            # Called with detached weights, because this loss must leave no gradient on them.
            weights = {name: tensor.detach() for name, tensor in self.discriminator.named_parameters()}
            terms["adversarial"] = losses.adversarial_loss(functional_call(self.discriminator, weights, restored))
            total = total + recipe.adversarial_weight * terms["adversarial"]
        return {**terms, "total": total}

    def _discriminator_gradients(
        self, micro_batches: Sequence[MicroBatch], restored: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        means: dict[str, Tensor] = {}
        for number, (one, output) in enumerate(zip(micro_batches, restored, strict=True)):
            with _synchronised(self._judge, number == len(micro_batches) - 1):
                terms = {"discriminator": losses.discriminator_loss(*self._judge(one.hq, output))}
                (terms["discriminator"] / len(micro_batches)).backward()
            _add(means, terms, len(micro_batches))
        return means

    def _checked(self, means: dict[str, Tensor]) -> dict[str, float]:
        """The means over all workers, the same on each; TrainingError on each if one is not finite."""
        values = torch.stack([value.detach().float() for value in means.values()])
        if dist.is_initialized():
            dist.all_reduce(values)
            values /= dist.get_world_size()
        found = dict(zip(means, values.tolist(), strict=True))
        for name, value in found.items():
            if not math.isfinite(value):
                remedy = f"lower learning_rate ({self.recipe.learning_rate:g}), or use precision: float32"
                raise TrainingError(f"the {name} loss is {value} at iteration {self.iteration}; {remedy}")
        return found

    @staticmethod
    def _apply(optimiser: torch.optim.Adam, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def autocast(self) -> torch.autocast:
        """bfloat16 if the recipe says so. It needs no loss scaling: its exponent has float32's range."""
        enabled = self.recipe.precision == "bfloat16"
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=enabled)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[InterLCM]:
        """The model with the averaged encoders, by which a checkpoint is judged."""
        for name in ENCODERS:
            setattr(self.model, name, self.average[name])
        try:
            yield self.model
        finally:
            for name in ENCODERS:
                setattr(self.model, name, self.encoders[name])

    def state_dict(self) -> dict[str, Any]:
        """All that another process needs to continue: tensors and numbers only."""
        return {"iteration": self.iteration, **{name: part.state_dict() for name, part in self._stateful().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])
        self.iteration = state["iteration"]

    def _stateful(self) -> dict[str, Any]:
        return {
            "encoders": self.encoders,
            "average": self.average,
            "optimiser": self._optimiser,
            "discriminator": self.discriminator,
            "discriminator_optimiser": self._discriminator_optimiser,
        }


def _synchronised(module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Let workers exchange gradients only in the last backward pass of an iteration."""
    return contextlib.nullcontext() if last or not hasattr(module, "no_sync") else cast(Any, module).no_sync()


def _add(means: dict[str, Tensor], terms: dict[str, Tensor], count: int) -> None:
    for name, value in terms.items():
        means[name] = means.get(name, torch.zeros((), device=value.device)) + value.detach() / count
