"""Training of the encoders on tiny real modules: which weights learn, when, and stopping and continuing."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from interlcm import InterLCM
from interlcm.encoder_training import EncoderTraining, MicroBatch
from interlcm.errors import TrainingError
from interlcm.perceptual import Perceptual
from interlcm.recipe import Recipe
from tests.support import tiny
from tests.support.networks import write_perceptual_network
from tests.support.parts import listed

FROZEN = ("unet", "vae", "clip")
RECIPE = Recipe(
    iterations=100, batch=4, micro_batch=4, learning_rate=1e-3, final_learning_rate=1e-4, ema=0.5,
    perceptual_weight=0, adversarial_from=3, discriminator_layers=2, discriminator_filters=8, precision="float32",
)  # fmt: skip


def training(recipe: Recipe = RECIPE, **options: Any) -> EncoderTraining:
    torch.manual_seed(0)
    return EncoderTraining(tiny.model(), recipe, **options)


def batch(iteration: int, part: slice = slice(None)) -> MicroBatch:
    """Four crops of one iteration, or some of them."""
    hq, lq = tiny.faces(4, seed=iteration), tiny.faces(4, seed=iteration + 1000)
    return MicroBatch(hq[part], lq[part], [10 * iteration + n for n in range(4)][part])


def run(one: EncoderTraining, iterations: range) -> list[dict[str, float]]:
    return [one.step([batch(iteration)]) for iteration in iterations]


def moved(before: nn.Module, after: nn.Module) -> bool:
    return not tiny.same_weights(before, after)


def with_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_the_defaults_are_the_papers() -> None:
    """arXiv 2502.02215, section 4.1: with other values, the paper's training is not reproduced."""
    paper = Recipe()
    assert (paper.learning_rate, paper.final_learning_rate, paper.betas) == (5e-5, 2e-5, (0.9, 0.99))
    assert (paper.pixel_weight, paper.perceptual_weight, paper.adversarial_weight) == (1, 1, 0.1)
    assert (paper.iterations, paper.adversarial_from, paper.ema) == (15_001, 10_001, 0.997)
    assert (paper.discriminator_layers, paper.discriminator_filters) == (4, 64)


def test_learning_rate_falls_along_a_cosine() -> None:
    paper = Recipe()
    assert paper.learning_rate_at(1) == 5e-5
    assert paper.learning_rate_at(15_001) == pytest.approx(4.93e-5, rel=1e-3)  # where the paper's training ends
    assert paper.learning_rate_at(75_001) == pytest.approx(3.5e-5)
    assert paper.learning_rate_at(150_001) == paper.learning_rate_at(200_000) == pytest.approx(2e-5)


@pytest.mark.parametrize("checkpointed", [True, False])
def test_gradient_reaches_both_encoders_and_no_frozen_part(checkpointed: bool) -> None:
    one = training(replace(RECIPE, checkpoint_activations=checkpointed))
    one._encoder_gradients([batch(1)], adversarial=False)
    assert all(with_gradient(one.encoders[name]) for name in one.encoders)
    assert all(p.grad is not None for p in one.encoders.parameters())
    assert all(p.grad is None for name in FROZEN for p in getattr(one.model, name).parameters())
    assert not with_gradient(one.discriminator)


def test_a_step_changes_the_encoders_alone() -> None:
    one = training()
    before = copy.deepcopy(one.model)
    found = one.step([batch(1)])
    assert set(found) == {"pixel", "total"} and found["total"] == found["pixel"] > 0
    changed = {name for name, part in one.model.named_children() if moved(getattr(before, name), part)}
    assert changed == {"visual_encoder", "spatial_encoder"}


def test_checkpointed_activations_change_no_number() -> None:
    kept, again = (training(replace(RECIPE, checkpoint_activations=flag)) for flag in (False, True))
    for iteration in (1, 2):
        assert kept.step([batch(iteration)]) == pytest.approx(again.step([batch(iteration)]), rel=1e-5)


def test_losses_fall() -> None:
    one = training(replace(RECIPE, adversarial_weight=0))
    losses = [one.step([batch(1, slice(0, 1))])["pixel"] for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_discriminator_starts_when_it_should() -> None:
    one = training()
    before = copy.deepcopy(one.discriminator)
    early = run(one, range(1, 3))
    assert not moved(before, one.discriminator) and all("adversarial" not in found for found in early)
    third = one.step([batch(3)])
    assert moved(before, one.discriminator)
    assert third["discriminator"] == pytest.approx(2, abs=0.5)  # it is untrained
    assert third["total"] == pytest.approx(third["pixel"] + 0.1 * third["adversarial"], rel=1e-5)


def test_discriminator_learns_to_tell() -> None:
    one = training(replace(RECIPE, adversarial_from=1, learning_rate=5e-3))
    judged = [one.step([batch(1, slice(0, 1))])["discriminator"] for _ in range(12)]
    assert min(judged) < 1.5 < judged[0]


def test_encoders_get_the_adversarial_gradient() -> None:
    plain, adversarial = training(), training(replace(RECIPE, pixel_weight=0, adversarial_from=1))
    adversarial._encoder_gradients([batch(1)], adversarial=True)
    assert all(with_gradient(part) for part in adversarial.encoders.values())
    assert not with_gradient(adversarial.discriminator) and not with_gradient(plain.encoders)


def test_perceptual_loss_is_in_the_sum(tmp_path: Path) -> None:
    write_perceptual_network(tmp_path)
    one = training(replace(RECIPE, perceptual_weight=1), perceptual=Perceptual.load(listed(tmp_path)))
    found = one.step([batch(1)])
    assert found["perceptual"] > 0.01
    assert found["total"] == pytest.approx(found["pixel"] + found["perceptual"], rel=1e-5)
    with pytest.raises(ValueError, match="no perceptual network"):
        training(replace(RECIPE, perceptual_weight=1))


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    whole, parts = training(), training()
    recipe_free = replace(RECIPE, adversarial_weight=0)  # batch norm depends on the micro-batch
    whole.recipe = parts.recipe = recipe_free
    for iteration in (1, 2):
        expected = whole.step([batch(iteration)])
        found = parts.step([batch(iteration, slice(0, 2)), batch(iteration, slice(2, 4))])
        assert found == pytest.approx(expected, rel=1e-5)


def test_moving_average_is_what_is_judged() -> None:
    one = training(replace(RECIPE, ema=0.75))
    start = copy.deepcopy(one.encoders)
    one.step([batch(1)])
    for begun, average, now in zip(*(m.parameters() for m in (start, one.average, one.encoders)), strict=True):
        assert torch.allclose(average, 0.75 * begun + 0.25 * now, atol=1e-7)
    with one.averaged() as model:
        assert model.visual_encoder is one.average["visual_encoder"]
    assert one.model.visual_encoder is one.encoders["visual_encoder"]


def test_goes_on_from_its_state_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    through = training()
    expected = run(through, range(1, 6))
    stopped = training()
    run(stopped, range(1, 4))
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)  # random state from outside has no influence
    again = EncoderTraining(tiny.model(seed=5), RECIPE)
    for name in FROZEN:  # the frozen parts come from the weights folder
        getattr(again.model, name).load_state_dict(getattr(through.model, name).state_dict())
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(again, range(4, 6)) == expected[3:]
    assert tiny.same_weights(again.average, through.average)


def test_a_loss_that_is_no_number_ends_it_in_one_line() -> None:
    one = training()
    broken = replace(batch(1), hq=torch.full((4, 3, 32, 32), float("nan")))
    with pytest.raises(TrainingError, match=r"the pixel loss is nan at iteration 1; lower learning_rate \(0.001\)"):
        one.step([broken])


def _distributed(rank: int, port: int, results: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    one = training(wrap=DistributedDataParallel)
    half = slice(2 * rank, 2 * rank + 2)
    found = [
        one.step([batch(n, slice(half.start, half.start + 1)), batch(n, slice(half.start + 1, half.stop))])
        for n in (1, 2)
    ]
    results[rank] = found
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_are_one_with_twice_the_batch() -> None:
    """With accumulated gradients, too: real DistributedDataParallel, over gloo."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    expected = run(training(), range(1, 3))
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_distributed, args=(port, results), nprocs=2)
        first, second = results[0], results[1]
    assert first == second == [pytest.approx(one, rel=1e-5) for one in expected]


def test_one_step_variant_trains(tmp_path: Path) -> None:
    one = training(replace(RECIPE, steps=2, precision="bfloat16"))
    found = run(one, range(1, 4))
    assert found[-1]["pixel"] > 0 and isinstance(one.model, InterLCM)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_step_of_the_published_networks() -> None:
    """Stable Diffusion 1.5's sizes with random weights, at 64 px: shapes, memory of the weights, gradients."""
    sizes: dict[str, dict[str, Any]] = {
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "time_cond_proj_dim": 256},
        "vae": {
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
        },
        "spatial_encoder": {},
        "visual_encoder": {},
        "clip": {"patch_size": 16},
        "scheduler": {"steps_offset": 1, "original_inference_steps": 50},
    }
    model = InterLCM.untrained(sizes, image_size=64)
    one = EncoderTraining(model, Recipe(perceptual_weight=0, adversarial_from=1))
    start = model.visual_encoder.state_dict()["blocks.0.weight"].clone()
    hq, lq = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    found = one.step([MicroBatch(hq, lq, [0])])
    assert found["pixel"] > 0 and found["discriminator"] > 0
    assert not torch.equal(start, model.visual_encoder.state_dict()["blocks.0.weight"])
    counts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    assert counts["unet"] == pytest.approx(860, abs=2) and counts["spatial_encoder"] == pytest.approx(361, abs=1)
