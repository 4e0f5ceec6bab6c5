"""The spatial encoder: its initial weights, and that its residuals fit the UNet."""

from typing import Any

import pytest
import torch

from interlcm import InterLCM
from interlcm.spatial_encoder import embed, spatial_encoder_for, structure
from tests.support import tiny


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return tiny.components()


def residuals(encoder: Any, count: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    noisy, prompt = inputs(count)
    with torch.no_grad():
        return structure(encoder, noisy, torch.full((count,), 499), prompt, embed(encoder, tiny.faces(count)))


def inputs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy latent (count, 4, 16, 16) and a prompt (count, 4, 32)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((count, 4, 16, 16), (count, 4, 32))
    noisy, prompt = (torch.randn(shape, generator=generator) for shape in shapes)
    return noisy, prompt


def test_it_starts_with_the_weights_of_the_unet(parts: dict[str, Any]) -> None:
    encoder, unet = parts["spatial_encoder"].state_dict(), parts["unet"].state_dict()
    shared = [name for name in encoder if name in unet]
    blocks = {name.partition(".")[0] for name in shared}
    assert blocks == {"conv_in", "time_embedding", "down_blocks", "mid_block"}
    assert all(torch.equal(encoder[name], unet[name]) for name in shared)


def test_it_has_no_guidance_embedding(parts: dict[str, Any]) -> None:
    assert parts["unet"].config.time_cond_proj_dim == 16
    assert not [name for name in parts["spatial_encoder"].state_dict() if "cond_proj" in name]


def test_making_one_leaves_the_unet_alone(parts: dict[str, Any]) -> None:
    unet = tiny.components()["unet"]
    spatial_encoder_for(unet, (8, 8))
    assert tiny.same_weights(unet, parts["unet"]) and unet.config.time_cond_proj_dim == 16


def test_a_fresh_one_has_no_effect(parts: dict[str, Any]) -> None:
    skips, middle = residuals(parts["spatial_encoder"], 2)
    assert all(not residual.any() for residual in (*skips, middle))


def test_residuals_fit_the_unet() -> None:
    skips, middle = residuals(tiny.model().spatial_encoder, 2)
    # conv_in, the first block and its downsampling, the second block; all 32 wide in the tiny UNet.
    assert [tuple(skip.shape[1:]) for skip in skips] == [(32, 16, 16)] * 2 + [(32, 8, 8)] * 2
    assert middle.shape == (2, 32, 8, 8)


def test_the_embedded_crop_is_taken_as_it_is() -> None:
    """The same to the bit as when the encoder embeds the crop itself; and it can still do so afterwards."""
    encoder = tiny.model().spatial_encoder
    embedding = encoder.controlnet_cond_embedding
    skips, middle = residuals(encoder, 2)
    assert encoder.controlnet_cond_embedding is embedding
    noisy, prompt = inputs(2)
    with torch.no_grad():
        expected = encoder(noisy, 499, prompt, tiny.faces(2), return_dict=False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(skips, expected[0], strict=True))
    assert torch.equal(middle, expected[1])


def test_the_crop_decides_the_estimate() -> None:
    model = tiny.model()
    noisy, prompt = inputs(2)
    with torch.no_grad():
        one, other = (model.denoise(noisy, 499, prompt, tiny.faces(2, seed)) for seed in (1, 2))
    assert (one - other).abs().max() > 1e-3


def test_published_widths_halve_the_crop_three_times(parts: dict[str, Any]) -> None:
    encoder = spatial_encoder_for(parts["unet"])
    assert encoder.config.conditioning_embedding_out_channels == (16, 32, 96, 256)
    crop = torch.zeros(1, 3, 64, 64)
    assert encoder.controlnet_cond_embedding(crop).shape == (1, 32, 8, 8)


def test_zero_convolutions_can_be_trained() -> None:
    model = InterLCM(**tiny.components()).eval()
    noisy, prompt = inputs(1)
    model.denoise(noisy, 499, prompt, tiny.faces(1)).square().sum().backward()
    for name, parameter in model.spatial_encoder.named_parameters():
        if name.startswith(("controlnet_down_blocks", "controlnet_mid_block")):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
