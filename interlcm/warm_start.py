"""A start for small models: before any training they return their input, so training can only add to it.

The latent is the picture itself, as luma and two colour differences. Every network here ends in group norm, SiLU and a
convolution, which take away the level and contrast that a picture must keep; a small network needs thousands of steps
to find a way around that. So some channels are set by hand. A value x that has to pass is there twice, as x and as -x,
for SiLU(x) - SiLU(-x) = x; and four more channels are constants so large that they, not the picture, decide the norm's
scale. Needs a VAE that keeps the resolution (f = 1), one norm group, and at least 16 channels at full resolution.
"""

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from interlcm.model import InterLCM

# Luma, then R and B against it; doubled, as colour differences are small beside luma and CIEDE2000 counts them as much.
OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [4 / 3, -2 / 3, -2 / 3], [-2 / 3, -2 / 3, 4 / 3]])
CARRIED = 3  # channels of the latent that are in use
CONSTANTS = (6, 7, 8, 9)  # behind the pairs
LEVELS = torch.tensor([8.0, -8.0, 8.0, -8.0])  # much above the pictures' -1 to 1, and zero on average


@torch.no_grad()
def start_as_identity(model: InterLCM) -> None:
    """Set the VAE to the identity, and the estimate of x_0 to the latent of the crop, whatever the noisy latent is."""
    start_vae(model.vae)
    unet, control = model.unet, model.spatial_encoder
    same = torch.eye(CARRIED)
    for conv_in in (unet.conv_in, control.conv_in):  # these channels are the crop's alone
        put(conv_in, torch.zeros(CARRIED, 0))
    embedding = control.controlnet_cond_embedding
    put(embedding.conv_in, pairs(OPPONENT))
    put(embedding.conv_out, from_pairs(same))
    put(control.controlnet_down_blocks[0], same)
    last = unet.up_blocks[-1].resnets[-1]  # its input ends with the channels of conv_in, which hold the crop
    put(last.conv_shortcut, pairs(same), offset=last.conv_shortcut.in_channels - unet.conv_in.out_channels)
    add_constants(last.conv_shortcut)
    still(last)
    read(unet.conv_norm_out, unet.conv_out, model.vae.config.scaling_factor * same)


def start_vae(vae: AutoencoderKL) -> None:
    encoder, decoder = vae.encoder, vae.decoder
    same = torch.eye(CARRIED)
    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            still(block)
    put(encoder.conv_in, pairs(OPPONENT))
    put(decoder.conv_in, pairs(same))
    add_constants(encoder.conv_in)
    add_constants(decoder.conv_in)
    read(encoder.conv_norm_out, encoder.conv_out, same)
    read(decoder.conv_norm_out, decoder.conv_out, OPPONENT.inverse())
    encoder.conv_out.bias[vae.config.latent_channels :] = -10.0  # logarithm of the posterior's variance
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)


def put(conv: nn.Conv2d, matrix: Tensor, offset: int = 0) -> None:
    """The first output channels become `matrix` (out, in) times the input channels from `offset` on, pixel by pixel."""
    rows, columns = matrix.shape
    middle = conv.kernel_size[0] // 2
    nn.init.zeros_(conv.weight[:rows])
    conv.weight[:rows, offset : offset + columns, middle, middle] = matrix
    if conv.bias is not None:
        nn.init.zeros_(conv.bias[:rows])


def pairs(matrix: Tensor) -> Tensor:
    """(out, in) -> (2 out, in), which gives x and then -x."""
    return torch.cat([matrix, -matrix])


def from_pairs(matrix: Tensor) -> Tensor:
    """(out, in) -> (out, 2 in), which takes SiLU(x) and then SiLU(-x)."""
    return torch.cat([matrix, -matrix], dim=1)


def add_constants(conv: nn.Conv2d) -> None:
    assert conv.bias is not None
    conv.weight[list(CONSTANTS)] = 0
    conv.bias[list(CONSTANTS)] = LEVELS


def still(block: ResnetBlock2D) -> None:
    """Make a residual block that adds nothing."""
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)


def read(norm: nn.GroupNorm, conv: nn.Conv2d, matrix: Tensor) -> None:
    """Apply `matrix` (out, 3) to the values of the first 3 pairs, as they were before group norm and SiLU.

    The norm divides by sqrt(4 * 8^2 / channels), for the constants outweigh all else; they are not looked at.
    """
    deviation = float((LEVELS.square().sum() / norm.num_channels).sqrt())
    nn.init.zeros_(norm.weight[list(CONSTANTS)])
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    put(conv, deviation * from_pairs(matrix))
