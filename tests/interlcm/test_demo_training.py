"""Training loops on tiny modules: which weights change, which stay, and what stops the loop."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch

from interlcm import InterLCM, demo_training, losses, schedule
from interlcm.demo_training import Crops, Stage, optimise
from interlcm.errors import TrainingError
from tests.support import tiny

PARTS = ("unet", "vae", "spatial_encoder", "visual_encoder", "clip")
STAGE = Stage(steps=3, batch=2, size=tiny.IMAGE_SIZE, lr=1e-3)


def picture(load: Callable[[], Any]) -> torch.Tensor:
    """(3, 128, 128) uint8 out of one of scikit-image's pictures."""
    return torch.from_numpy(load()[100:228, 100:228].copy()).permute(2, 0, 1)


ASTRONAUT, COFFEE = picture(skimage.data.astronaut), picture(skimage.data.coffee)


@pytest.fixture
def model() -> InterLCM:
    return tiny.model()


@pytest.fixture
def crops() -> Crops:
    return Crops([ASTRONAUT, COFFEE], [1, 1])


def silent(step: int, loss: float) -> None:
    pass


def trainable(model: InterLCM) -> set[str]:
    return {part for part in PARTS if any(p.requires_grad for p in getattr(model, part).parameters())}


@pytest.mark.parametrize(
    ("train", "changing"),
    [
        (demo_training.train_vae, {"vae"}),
        (demo_training.train_prior, {"unet", "spatial_encoder", "visual_encoder", "clip"}),
        (demo_training.train_encoders, {"visual_encoder", "spatial_encoder"}),
    ],
)
def test_each_stage_changes_its_parts_alone(
    model: InterLCM, crops: Crops, train: Callable[..., None], changing: set[str]
) -> None:
    before = copy.deepcopy(model)
    train(model, crops, STAGE, silent)
    same = {part for part in PARTS if tiny.same_weights(getattr(model, part), getattr(before, part))}
    assert same == set(PARTS) - changing
    assert trainable(model) == set()
    assert model.restore(tiny.faces(1)).isfinite().all()


def test_frozen_parts_take_no_gradient(model: InterLCM) -> None:
    def loss(step: int) -> torch.Tensor:
        assert trainable(model) == {"vae"}
        return losses.autoencoding_loss(model, tiny.faces(1), torch.Generator().manual_seed(0))

    optimise(model, ["vae"], loss, STAGE, silent)


def test_loss_of_the_vae_falls(model: InterLCM, crops: Crops) -> None:
    hq, _ = crops.batch(replace(STAGE, batch=4), crops.generator(0))

    def loss() -> float:
        torch.manual_seed(0)  # the posterior is sampled
        with torch.no_grad():
            return float(losses.autoencoding_loss(model, hq, torch.Generator().manual_seed(0)))

    before = loss()
    stage = Stage(steps=30, batch=4, size=tiny.IMAGE_SIZE, lr=2e-3)
    optimise(
        model,
        ["vae"],
        lambda step: losses.autoencoding_loss(model, hq, torch.Generator().manual_seed(0)),
        stage,
        silent,
    )
    assert loss() < 0.7 * before


def test_loss_of_the_encoders_falls(model: InterLCM, crops: Crops) -> None:
    hq, lq = crops.batch(replace(STAGE, batch=4), crops.generator(0))

    def loss(step: int = 0) -> torch.Tensor:
        return losses.restoration_loss(model, hq, lq, 2, [0, 1, 2, 3])

    before = float(loss().detach())
    stage = Stage(steps=25, batch=4, size=tiny.IMAGE_SIZE, lr=1e-2)
    optimise(model, ["visual_encoder", "spatial_encoder"], loss, stage, silent)
    assert float(loss().detach()) < 0.95 * before


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_in_one_line(model: InterLCM, crops: Crops, bad: float) -> None:
    with torch.no_grad():
        model.vae.decoder.conv_out.bias.fill_(bad)
    with pytest.raises(TrainingError) as caught:
        demo_training.train_vae(model, crops, STAGE, silent)
    message = str(caught.value)
    assert f"loss is {bad} at step 0 of vae" in message and "lower lr 0.001" in message
    assert "\n" not in message


def test_moving_average_is_what_stays(model: InterLCM) -> None:
    """After one step the average keeps a tenth of the start, unless the decay asks for less."""
    start = model.vae.decoder.conv_out.bias.detach().clone()
    results = {}
    for ema in (0.0, 0.05, 0.997):
        trained, stage = copy.deepcopy(model), Stage(steps=1, batch=4, size=32, lr=1e-2, ema=ema)
        torch.manual_seed(0)
        optimise(trained, ["vae"], autoencoding_of(trained), stage, silent)
        results[ema] = trained.vae.decoder.conv_out.bias - start
    assert results[0.0].abs().min() > 5e-3  # Adam's first step is about lr everywhere
    torch.testing.assert_close(results[0.05], 0.95 * results[0.0], atol=1e-6, rtol=0)
    torch.testing.assert_close(results[0.997], 0.9 * results[0.0], atol=1e-6, rtol=0)


def autoencoding_of(model: InterLCM) -> Callable[[int], torch.Tensor]:
    return lambda step: losses.autoencoding_loss(model, tiny.faces(4), torch.Generator().manual_seed(0))


def test_reports_come_at_intervals_and_at_the_end(model: InterLCM) -> None:
    parameter = next(model.clip.parameters())
    reports: list[tuple[int, float]] = []
    stage = Stage(steps=demo_training.REPORT_EVERY + 3, batch=1, size=32, lr=1e-6)

    def loss(step: int) -> torch.Tensor:
        return 0 * parameter.sum() + step  # of a known average

    optimise(model, ["clip"], loss, stage, lambda *report: reports.append(report))
    every = demo_training.REPORT_EVERY
    assert reports == [(every, (every - 1) / 2), (every + 3, every + 1.0)]


def draw(crops: Crops, size: int, count: int, step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return crops.batch(Stage(steps=1, batch=count, size=size, lr=1e-3), crops.generator(step))


def test_crops_are_the_same_for_a_seed_and_step(crops: Crops) -> None:
    def both(seed: int, step: int) -> torch.Tensor:
        return torch.stack(draw(replace(crops, seed=seed), 48, 3, step))

    one = both(7, 0)
    torch.manual_seed(123)  # the global generator has no influence
    assert torch.equal(both(7, 0), one)
    assert not torch.equal(both(8, 0), one)
    assert not torch.equal(both(7, 1), one)


def test_crops_have_shape_range_and_some_are_grey(crops: Crops) -> None:
    hq, lq = draw(crops, 48, 40)
    assert hq.shape == lq.shape == (40, 3, 48, 48)
    assert max(float(x.abs().max()) for x in (hq, lq)) <= 1
    assert float((lq - hq).abs().mean()) > 0.05  # degraded, in the same place
    assert float((lq - hq).abs().mean()) < float((lq - hq.flip(0)).abs().mean())
    grey = sum(bool(torch.equal(x[0], x[1]) and torch.equal(x[0], x[2])) for x in hq)
    assert 4 <= grey <= 20  # three of ten


def test_pictures_are_drawn_by_weight() -> None:
    dark, light = torch.zeros((3, 64, 64), dtype=torch.uint8), torch.full((3, 64, 64), 255, dtype=torch.uint8)
    hq, _ = draw(Crops([dark, light], [1, 3]), 16, 80)
    share = float((hq.mean((1, 2, 3)) > 0).float().mean())
    assert share == pytest.approx(0.75, abs=0.12)
    hq, _ = draw(Crops([dark, light], [0, 1]), 16, 20)
    assert float(hq.min()) > 0.99


def test_picture_smaller_than_the_crop_is_enlarged() -> None:
    hq, _ = draw(Crops([ASTRONAUT[:, :20, :30]], [1]), 32, 3)
    assert hq.shape == (3, 3, 32, 32)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("train", [demo_training.train_vae, demo_training.train_prior, demo_training.train_encoders])
def test_a_killed_stage_goes_on_as_if_it_had_not_been(
    crops: Crops, train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_training, "REPORT_EVERY", 2)
    stage, unfinished = replace(STAGE, steps=7, warmup=2), tmp_path / "stage.pt"

    def run(model: InterLCM, last: int) -> list[tuple[int, float]]:
        reports: list[tuple[int, float]] = []

        def report(step: int, loss: float) -> None:
            reports.append((step, loss))
            if step == last:
                raise KilledError

        with contextlib.suppress(KilledError):
            train(model, crops, stage, report, unfinished if last else None)
        return reports

    whole, killed, resumed = (tiny.model() for _ in range(3))
    expected = run(whole, last=0)
    assert [step for step, _ in expected] == [2, 4, 6, 7]
    assert run(killed, last=6) == expected[:3]  # its state is that of step 4: step 6 was not written yet
    torch.manual_seed(5)
    assert run(resumed, last=-1) == expected[2:]
    assert tiny.same_weights(resumed, whole)


def test_the_rate_warms_up_and_decays() -> None:
    stage = Stage(steps=100, batch=1, size=32, lr=1.0, warmup=9)
    rates = [stage.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == max(rates[9:12])
    assert rates[9] > 0.97 and rates[-1] == pytest.approx(0.05, abs=1e-3)


def test_a_restoration_meets_no_timestep_that_was_not_trained(model: InterLCM) -> None:
    for steps in (2, 3, 4):
        assert set(schedule.timesteps(model.scheduler, steps)[1:]) <= set(demo_training.TIMESTEPS)
