"""The Visual Module of InterLCM (arXiv 2502.02215, section 3.2): CLIP image tokens to the LCM's prompt embedding.

Convolutions run along the feature axis and take the tokens as channels, so one layer mixes every token of the
face. Parameter names are those of the published checkpoint (`blocks.0.weight`, `blocks.1.conv.weight`, ...).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class Resize(nn.Module):
    """Nearest-neighbour resize of the feature axis to `length`, then a convolution: (N, C, L) -> (N, C, length)."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, size=self.length, mode="nearest"))


class ResidualBlock(nn.Module):
    """Two convolutions, each behind group norm and swish, around a skip: (N, C, L) -> (N, D, L)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_out = nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.conv_out(x) if hasattr(self, "conv_out") else x
        x = self.conv1(F.silu(self.norm1(x)))
        return skip + self.conv2(F.silu(self.norm2(x)))


class SelfAttention(nn.Module):
    """Single-head attention between the L positions of the feature axis: (N, C, L) -> (N, C, L)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv1d(channels, channels, 1)
        self.k = nn.Conv1d(channels, channels, 1)
        self.v = nn.Conv1d(channels, channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (project(h).transpose(1, 2) for project in (self.q, self.k, self.v))  # (N, L, C) each
        h = F.scaled_dot_product_attention(q, k, v)  # scale C ** -0.5
        return x + self.proj_out(h.transpose(1, 2))


class VisualEncoder(nn.Module):
    """CLIP tokens (N, tokens, lengths[-1]) to a prompt embedding (N, embeddings, lengths[-1]).

    The defaults are the published shape, (N, 197, 768) to (N, 77, 768).

    Args:
        tokens: image tokens per face (197 for ViT-B/16 at 224 px).
        embeddings: rows of the prompt embedding (77, the length of an SD 1.5 prompt).
        channels: width of each stage, widest first; each a multiple of 32. The first stage has attention.
        lengths: feature length of each stage; the last is the width of the prompt embedding.
        blocks_per_stage: residual blocks in each stage.
    """

    def __init__(
        self,
        tokens: int = 197,
        embeddings: int = 77,
        channels: Sequence[int] = (512, 256, 128),
        lengths: Sequence[int] = (256, 512, 768),
        blocks_per_stage: int = 2,
    ) -> None:
        super().__init__()
        if len(channels) != len(lengths):
            raise ValueError(f"VisualEncoder: {len(channels)} channels but {len(lengths)} lengths")
        self.config: dict[str, Any] = {
            "tokens": tokens,
            "embeddings": embeddings,
            "channels": list(channels),
            "lengths": list(lengths),
            "blocks_per_stage": blocks_per_stage,
        }
        width = channels[0]
        blocks: list[nn.Module] = [nn.Conv1d(tokens, width, 3, padding=1)]
        blocks += [Resize(width, lengths[0]), ResidualBlock(width, width), SelfAttention(width)]
        blocks += [ResidualBlock(width, width)]
        for stage, out_width in enumerate(channels):
            if stage > 0:
                blocks.append(Resize(width, lengths[stage]))
            for _ in range(blocks_per_stage):
                blocks.append(ResidualBlock(width, out_width))
                width = out_width
                if stage == 0:
                    blocks.append(SelfAttention(width))
        # No activation before the last convolution: the published checkpoint was trained without one.
        blocks += [group_norm(width), nn.Conv1d(width, embeddings, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image_tokens: Tensor) -> Tensor:
        """(N, tokens, lengths[-1]) -> (N, embeddings, lengths[-1]); ValueError for any other shape."""
        expected = (self.config["tokens"], self.config["lengths"][-1])
        if tuple(image_tokens.shape[1:]) != expected:
            raise ValueError(f"image tokens are {tuple(image_tokens.shape[1:])}, the visual encoder needs {expected}")
        x = image_tokens
        for block in self.blocks:
            x = block(x)
        return x


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)
