"""The visual encoder's shapes, names and layers; its numbers are in test_parity."""

import math

import pytest
import torch

from interlcm import VisualEncoder
from interlcm.visual_encoder import Resize, SelfAttention

# Blocks of the published encoder that hold weights of these layers, by their place in `blocks`.
CONVOLUTIONS = (0, 16)
RESIZES = (1, 9, 12)
RESIDUAL_BLOCKS = (2, 4, 5, 7, 10, 11, 13, 14)
ATTENTIONS = (3, 6, 8)
LAST_NORM = 15


def tiny_encoder() -> VisualEncoder:
    return VisualEncoder(tokens=5, embeddings=4, channels=(128, 64), lengths=(16, 32), blocks_per_stage=1)


def shapes_of(encoder: VisualEncoder) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in encoder.state_dict().items()}


def published_names() -> set[str]:
    """Parameter names of the published checkpoint, without `.weight` and `.bias`."""
    names = {f"blocks.{i}" for i in (*CONVOLUTIONS, LAST_NORM)} | {f"blocks.{i}.conv" for i in RESIZES}
    names |= {f"blocks.{i}.{layer}{n}" for i in RESIDUAL_BLOCKS for layer in ("norm", "conv") for n in (1, 2)}
    names |= {f"blocks.{i}.{layer}" for i in ATTENTIONS for layer in ("norm", "q", "k", "v", "proj_out")}
    # Only a block that changes its width has a convolution in its skip.
    return names | {f"blocks.{i}.conv_out" for i in (10, 13)}


def test_defaults_are_the_published_shape() -> None:
    encoder = VisualEncoder().eval()
    with torch.no_grad():
        assert encoder(torch.randn(2, 197, 768)).shape == (2, 77, 768)


def test_defaults_have_the_published_names() -> None:
    names = {name.rpartition(".")[0] for name in VisualEncoder().state_dict()}
    assert {"blocks.0", "blocks.1.conv", "blocks.2.norm1"} <= names
    assert names == published_names()


def test_other_sizes_follow_the_arguments() -> None:
    encoder = tiny_encoder()
    assert encoder(torch.randn(3, 5, 32)).shape == (3, 4, 32)
    again = VisualEncoder(**encoder.config)
    assert shapes_of(again) == shapes_of(encoder) and again.config == encoder.config


@pytest.mark.parametrize("shape", [(1, 4, 32), (1, 5, 31), (1, 32, 5), (5, 32)])
def test_other_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        tiny_encoder()(torch.zeros(shape))
    assert str(shape[1:]) in str(caught.value) and "(5, 32)" in str(caught.value)


def test_every_stage_needs_a_length() -> None:
    with pytest.raises(ValueError, match="2 channels but 3 lengths"):
        VisualEncoder(channels=(64, 32), lengths=(16, 32, 64))


def test_faces_of_a_batch_do_not_mix() -> None:
    encoder, tokens = tiny_encoder().eval(), torch.randn(3, 5, 32)
    alone = torch.cat([encoder(tokens[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(encoder(tokens), alone, atol=1e-5, rtol=0)


def test_every_parameter_takes_part() -> None:
    encoder = tiny_encoder()
    encoder(torch.randn(1, 5, 32)).square().sum().backward()
    # A key's bias adds the same to every score of a query, which softmax cancels.
    without = {name for name, p in encoder.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    assert {name for name in without if not name.endswith("k.bias")} == set()


def test_attention_is_single_headed_over_positions() -> None:
    """softmax(q k^T / sqrt(C)) v between the L positions, written out."""
    attention, x = SelfAttention(64), torch.randn(2, 64, 7)
    h = attention.norm(x)
    q, k, v = attention.q(h), attention.k(h), attention.v(h)
    scores = torch.einsum("ncl,ncm->nlm", q, k) / math.sqrt(64)
    mixed = torch.einsum("nlm,ncm->ncl", scores.softmax(2), v)
    torch.testing.assert_close(attention(x), x + attention.proj_out(mixed))


def test_resize_repeats_the_nearest_before_the_convolution() -> None:
    resize = Resize(1, 6)
    with torch.no_grad():
        resize.conv.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
        resize.conv.bias.zero_()  # type: ignore[union-attr]
    assert resize(torch.tensor([[[1.0, 2.0, 3.0]]])).flatten().tolist() == [1, 1, 2, 2, 3, 3]
