"""The schedule against diffusers' own scheduler, which keeps the same numbers in another form."""

import pytest
import torch
from diffusers import LCMScheduler

from interlcm import schedule

SHAPE = (2, 4, 8, 8)


def scheduler_for(prediction_type: str = "epsilon") -> LCMScheduler:
    return LCMScheduler(steps_offset=1, prediction_type=prediction_type, clip_sample=False)


def normal(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("steps", "timesteps"), [(2, [999, 499]), (3, [999, 679, 339]), (4, [999, 759, 499, 259])])
def test_timesteps(steps: int, timesteps: list[int]) -> None:
    assert schedule.timesteps(scheduler_for(), steps) == timesteps


@pytest.mark.parametrize("steps", [1, 5])
def test_steps_out_of_range_name_the_range(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}; InterLCM runs with 2 to 4"):
        schedule.timesteps(scheduler_for(), steps)


def test_timesteps_do_not_depend_on_runs_before() -> None:
    scheduler = scheduler_for()
    schedule.timesteps(scheduler, 2)
    assert schedule.timesteps(scheduler, 4) == [999, 759, 499, 259]


@pytest.mark.parametrize("timestep", [999, 259, 0])
def test_add_noise_is_that_of_diffusers(timestep: int) -> None:
    scheduler = scheduler_for()
    theirs = scheduler.add_noise(normal(1), normal(2), torch.tensor([timestep] * SHAPE[0]))
    torch.testing.assert_close(schedule.add_noise(scheduler, normal(1), normal(2), timestep), theirs)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
@pytest.mark.parametrize("timestep", [999, 759, 499, 259])
def test_consistency_estimate_is_that_of_diffusers(prediction_type: str, timestep: int) -> None:
    scheduler = scheduler_for(prediction_type)
    scheduler.set_timesteps(4)
    theirs = scheduler.step(normal(3), timestep, normal(4)).denoised
    ours = schedule.consistency_estimate(scheduler, normal(4), normal(3), timestep)
    torch.testing.assert_close(ours, theirs)


def test_true_noise_gives_back_the_clean_latent() -> None:
    scheduler, clean, noise = scheduler_for(), normal(5), normal(6)
    noisy = schedule.add_noise(scheduler, clean, noise, 759)
    estimate = schedule.consistency_estimate(scheduler, noisy, noise, 759)
    torch.testing.assert_close(estimate, clean, atol=1e-4, rtol=0)


def test_boundary_condition_at_timestep_zero() -> None:
    """f(x, 0) = x for any output of the network (arXiv 2303.01469, section 3)."""
    noisy = normal(7)
    assert torch.equal(schedule.consistency_estimate(scheduler_for(), noisy, normal(8), 0), noisy)


def test_other_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="'v_prediction'; .* 'epsilon' or 'sample'"):
        schedule.consistency_estimate(scheduler_for("v_prediction"), normal(1), normal(2), 499)


def test_noise_of_a_face_does_not_depend_on_its_batch() -> None:
    batch = schedule.face_noise([5, 9, 5], SHAPE[1:], draws=3)
    alone = schedule.face_noise([9], SHAPE[1:], draws=3)
    assert [noise.shape for noise in batch] == [(3, *SHAPE[1:])] * 3
    for together, one in zip(batch, alone, strict=True):
        assert torch.equal(together[1:2], one)
        assert torch.equal(together[0], together[2])  # equal seeds
        assert not torch.equal(together[0], together[1])


def test_noise_is_the_published_stream() -> None:
    """The first draws of a torch.Generator with the face's seed, in step order, float32 on the CPU."""
    generator = torch.Generator("cpu").manual_seed(7)
    expected = [torch.randn((1, *SHAPE[1:]), generator=generator) for _ in range(2)]
    noises = schedule.face_noise([7], SHAPE[1:], draws=2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(noises, expected, strict=True))
    assert not torch.equal(noises[0], noises[1])


def test_fewer_draws_are_the_first_of_more() -> None:
    few, many = (schedule.face_noise([1, 2], SHAPE[1:], draws) for draws in (1, 3))
    assert torch.equal(few[0], many[0])
