"""What each training loss rewards, and which weights it can change."""

import pytest
import torch

from interlcm import InterLCM, losses
from tests.support import tiny

HQ, LQ = tiny.faces(4, seed=1), tiny.faces(4, seed=2)
PARTS = ("unet", "vae", "spatial_encoder", "visual_encoder", "clip")


@pytest.fixture
def model() -> InterLCM:
    return tiny.model()


def parts_with_gradient(model: InterLCM) -> set[str]:
    def has_gradient(part: str) -> bool:
        parameters = getattr(model, part).parameters()
        return any(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)

    return {part for part in PARTS if has_gradient(part)}


def consistency(model: InterLCM, timestep: int) -> torch.Tensor:
    return losses.consistency_loss(model, HQ, LQ, timestep, torch.Generator().manual_seed(3))


def test_autoencoding_trains_the_whole_vae_and_nothing_else(model: InterLCM) -> None:
    losses.autoencoding_loss(model, HQ, torch.Generator().manual_seed(0)).backward()
    assert parts_with_gradient(model) == {"vae"}
    assert all(p.grad is not None for p in model.vae.parameters())


def test_autoencoding_is_the_round_trip_of_a_sampled_latent(model: InterLCM) -> None:
    with torch.no_grad():
        posterior = model.vae.encode(HQ).latent_dist
        decoded = model.vae.decode(posterior.sample(torch.Generator().manual_seed(0))).sample
        loss = float(losses.autoencoding_loss(model, HQ, torch.Generator().manual_seed(0)))
    # The rest is the Kullback-Leibler term, which must not affect the picture.
    assert 0 < loss - float((decoded - HQ).abs().mean()) < 1e-3 * loss


def test_consistency_trains_all_but_the_vae(model: InterLCM) -> None:
    consistency(model, 499).backward()
    assert parts_with_gradient(model) == set(PARTS) - {"vae"}


def test_consistency_target_at_zero_is_the_clean_latent(model: InterLCM) -> None:
    """A network that predicts no noise estimates x_t / sqrt(abar_t): x_0 and noise of known size."""
    with torch.no_grad():
        model.unet.conv_out.weight.zero_()
        model.unet.conv_out.bias.zero_()
    alpha_bar = float(model.scheduler.alphas_cumprod[499])
    expected = (1 - alpha_bar) / alpha_bar
    assert float(consistency(model, 499).detach()) == pytest.approx(expected, rel=0.1)


def test_restoration_is_zero_for_the_models_own_output(model: InterLCM) -> None:
    with torch.no_grad():
        own = model.decode(model.unroll(LQ, 3, [1, 2, 3, 4]))
        assert float(losses.restoration_loss(model, own, LQ, 3, [1, 2, 3, 4])) == pytest.approx(0, abs=1e-6)
        offset = float(losses.restoration_loss(model, own + 0.25, LQ, 3, [1, 2, 3, 4]))
    assert offset == pytest.approx(0.25, abs=1e-5)  # L1 in units of [-1, 1]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_pixel_gradient_reaches_both_encoders(model: InterLCM, steps: int) -> None:
    model.requires_grad_(False)
    model.visual_encoder.requires_grad_(True)
    model.spatial_encoder.requires_grad_(True)
    losses.restoration_loss(model, HQ, LQ, steps, [0, 1, 2, 3]).backward()
    assert parts_with_gradient(model) == {"visual_encoder", "spatial_encoder"}


def test_gradient_comes_from_every_step(model: InterLCM) -> None:
    """The gradient flows through all steps: it is the slope of the loss, by finite differences."""
    bias = model.visual_encoder.get_parameter(f"blocks.{len(model.visual_encoder.blocks) - 1}.bias")
    direction = torch.randn(bias.shape)

    def loss() -> torch.Tensor:
        return losses.restoration_loss(model, HQ[:1], LQ[:1], 3, [0])

    (gradient,) = torch.autograd.grad(loss(), bias)
    slope = 0.0
    for sign in (1, -1):
        with torch.no_grad():
            bias.add_(sign * 1e-2 * direction)
            slope += sign * float(loss()) / 2e-2
            bias.sub_(sign * 1e-2 * direction)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.1)
