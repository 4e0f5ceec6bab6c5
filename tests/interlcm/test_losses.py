"""What each training loss rewards, and which parts it can change."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede94, rgb2lab

from interlcm import InterLCM, losses, schedule
from tests import tiny

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


def consistency(model: InterLCM, timestep: int, earlier: int | None = None) -> torch.Tensor:
    return losses.consistency_loss(model, HQ, LQ, timestep, earlier, torch.Generator().manual_seed(3))


def test_autoencoding_trains_the_whole_vae_and_nothing_else(model: InterLCM) -> None:
    losses.autoencoding_loss(model, HQ, torch.Generator().manual_seed(0)).backward()
    assert parts_with_gradient(model) == {"vae"}
    assert all(p.grad is not None for p in model.vae.parameters())


def test_autoencoding_is_the_round_trip_of_a_sampled_latent(model: InterLCM) -> None:
    with torch.no_grad():
        posterior = model.vae.encode(HQ).latent_dist
        decoded = model.vae.decode(posterior.sample(torch.Generator().manual_seed(0))).sample
        loss = float(losses.autoencoding_loss(model, HQ, torch.Generator().manual_seed(0)))
    # The rest is the Kullback-Leibler term, which must not weigh on the picture.
    assert 0 < loss - float((decoded - HQ).abs().mean()) < 1e-3 * loss


@pytest.mark.parametrize("earlier", [None, 259])
def test_consistency_trains_all_but_the_vae(model: InterLCM, earlier: int | None) -> None:
    consistency(model, 499, earlier).backward()
    assert parts_with_gradient(model) == set(PARTS) - {"vae"}


def test_consistency_target_at_zero_is_the_clean_latent(model: InterLCM) -> None:
    """A network that sees no noise estimates x_t / sqrt(abar_t): x_0 and noise of known size."""
    with torch.no_grad():
        model.unet.conv_out.weight.zero_()
        model.unet.conv_out.bias.zero_()
    alpha_bar = float(model.scheduler.alphas_cumprod[499])
    expected = (1 - alpha_bar) / alpha_bar
    assert float(consistency(model, 499).detach()) == pytest.approx(expected, rel=0.1)


def test_consistency_target_is_the_estimate_on_the_same_noise(model: InterLCM) -> None:
    """The loss and its gradient, with the target computed on its own and held fixed."""
    with torch.no_grad():
        clean, prompt = model.encode(HQ), model.prompt(LQ)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))

    def estimate(timestep: int) -> torch.Tensor:
        return model.denoise(schedule.add_noise(model.scheduler, clean, noise, timestep), timestep, prompt, LQ)

    expected = (estimate(499) - estimate(259).detach()).square().mean()
    loss = consistency(model, 499, earlier=259)
    torch.testing.assert_close(loss, expected)
    bias = model.unet.conv_out.bias
    torch.testing.assert_close(torch.autograd.grad(loss, bias), torch.autograd.grad(expected, bias))


def test_restoration_is_zero_for_the_models_own_output(model: InterLCM) -> None:
    with torch.no_grad():
        own = model.decode(model.unroll(LQ, 3, [1, 2, 3, 4]))
        assert float(losses.restoration_loss(model, own, LQ, 3, [1, 2, 3, 4])) == pytest.approx(0, abs=1e-6)
        offset = float(losses.restoration_loss(model, own + 0.25, LQ, 3, [1, 2, 3, 4]))
        color = losses.COLOR_WEIGHT * float(losses.color_difference(own, own + 0.25))
    assert offset - color == pytest.approx(0.25, abs=1e-5)  # L1 in units of [-1, 1]
    assert color > 0.05


def test_lab_is_that_of_scikit_image() -> None:
    expected = rgb2lab(((HQ + 1) / 2).permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(losses.lab(HQ).permute(0, 2, 3, 1), expected, atol=0.05)


def test_color_difference_is_cie94_without_its_hue_weight() -> None:
    """Greys have no hue: there the two are one. A colour's hue counts a little less here, never more."""
    grey, other_grey = HQ[:, :1].expand_as(HQ), LQ[:, :1].expand_as(LQ)
    for hq, lq, tolerance in ((grey, other_grey, 0.01), (HQ, (HQ + 0.05 * LQ).clamp(-1, 1), 0.3)):
        one, other = (rgb2lab(((x + 1) / 2).permute(0, 2, 3, 1).numpy()) for x in (hq, lq))
        assert float(losses.color_difference(lq, hq)) == pytest.approx(deltaE_ciede94(one, other).mean(), rel=tolerance)


@pytest.mark.parametrize("level", [-1.2, -1.0, -0.999, 0.0, 0.999, 1.2])
def test_color_difference_has_a_finite_gradient_everywhere(level: float) -> None:
    """Black, white and equal pictures are where roots have none."""
    restored = torch.full((1, 3, 4, 4), level, requires_grad=True)
    for hq in (restored.detach(), -torch.ones_like(restored)):
        (gradient,) = torch.autograd.grad(losses.color_difference(restored, hq), restored)
        assert gradient.isfinite().all()
    assert bool(gradient.any()) == (-1 < level < 1)


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_pixel_gradient_reaches_both_encoders(model: InterLCM, steps: int) -> None:
    model.requires_grad_(False)
    model.visual_encoder.requires_grad_(True)
    model.spatial_encoder.requires_grad_(True)
    losses.restoration_loss(model, HQ, LQ, steps, [0, 1, 2, 3]).backward()
    assert parts_with_gradient(model) == {"visual_encoder", "spatial_encoder"}


def test_gradient_comes_from_every_step(model: InterLCM) -> None:
    """No step is cut off: the gradient is the slope of the loss, by finite differences."""
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
