"""PatchGAN: judges whether each patch of a picture is real (arXiv 1611.07004, section 3.2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOPE = 0.2  # of LeakyReLU, as in pix2pix
WIDEST = 8  # the most filters of a layer, as a multiple of the first layer's


class PatchDiscriminator(nn.Module):
    """Strided 4 x 4 convolutions, then one logit for each patch.

    Args:
        layers: convolutions that halve the picture; with 4, a logit sees a patch of 142 px.
        filters: number of the first layer's filters; each further layer has twice as many, up to eight times.
    """

    def __init__(self, layers: int = 4, filters: int = 64) -> None:
        super().__init__()
        widths = [min(2**n, WIDEST) * filters for n in range(layers + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(3, filters, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for n in range(1, layers + 1):
            # The last convolution keeps the size.
            stride = 2 if n < layers else 1
            blocks += [
                nn.Conv2d(widths[n - 1], widths[n], 4, stride, 1, bias=False),
                # Used in training only, so batch statistics suffice, and workers share no state.
                nn.BatchNorm2d(widths[n], track_running_stats=False),
                nn.LeakyReLU(SLOPE),
            ]
        blocks.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.blocks = nn.Sequential(*blocks)
        self.apply(_initialise)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> logits (N, 1, h, w); above zero is real. H and W at least 2^(layers + 1)."""
        return self.blocks(pictures)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), as DCGAN (arXiv 1511.06434, section 4) and pix2pix do."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
