"""CLIP's tokens: the preprocessing of the crop, and the tokens that are returned."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from interlcm.image_tokens import CLIP_MEAN, CLIP_STD, image_tokens
from tests.support import tiny


@pytest.fixture(scope="module")
def clip() -> CLIPVisionModel:
    return tiny.components()["clip"].eval()


def tokens_of(clip: CLIPVisionModel, lq: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return image_tokens(clip, lq)


def test_published_tower_gives_197_tokens_of_768() -> None:
    config = CLIPVisionConfig(
        hidden_size=768, intermediate_size=8, num_hidden_layers=1, num_attention_heads=12, patch_size=16
    )
    assert tokens_of(CLIPVisionModel(config).eval(), tiny.faces(2)).shape == (2, 197, 768)


def test_class_token_is_the_one_that_transformers_pools(clip: CLIPVisionModel) -> None:
    """transformers normalises only the class token, so it shows whether the crop was preprocessed for CLIP."""
    lq = tiny.faces(2)  # of CLIP's own size: nothing is resized
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        pooled = clip(pixel_values=(lq / 2 + 0.5 - mean) / std).pooler_output
    torch.testing.assert_close(tokens_of(clip, lq)[:, 0], pooled)


def test_every_token_is_normed(clip: CLIPVisionModel) -> None:
    tokens = tokens_of(clip, tiny.faces(2))  # fresh norms have gain 1 and bias 0
    assert tokens.shape == (2, 5, 32)
    torch.testing.assert_close(tokens.mean(2), torch.zeros(2, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.std(2, unbiased=False), torch.ones(2, 5), atol=1e-2, rtol=0)


def test_resize_has_no_antialiasing(clip: CLIPVisionModel) -> None:
    """At a third of the size, bicubic samples are the middle pixels of 3 x 3 blocks; the others do not matter."""
    small = tiny.faces(1)
    large = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    large[..., 1::3, 1::3] = small
    torch.testing.assert_close(tokens_of(clip, large), tokens_of(clip, small), atol=1e-4, rtol=0)


def test_tokens_follow_the_dtype_of_the_tower() -> None:
    clip = tiny.components()["clip"].eval().to(torch.bfloat16)
    tokens = tokens_of(clip, tiny.faces(1))
    assert tokens.dtype == torch.bfloat16
    full = tokens_of(tiny.components()["clip"].eval(), tiny.faces(1))
    assert 0 < (tokens.float() - full).abs().mean() < 0.05
