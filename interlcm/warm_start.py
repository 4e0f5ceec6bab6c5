"""Initial weights of small models: before any training they return their input, so training can only add to it.

Every network here ends in group norm, SiLU and a convolution. The norm takes away the level and contrast that a picture
must keep, and a small network needs thousands of steps to find a way around that. So a few channels are set by hand:
three carry the colours, and four carry constants so large that they, not the picture, decide the norm's scale.
Needs a VAE that keeps the resolution (f = 1), one norm group, and at least 16 channels at full resolution.
"""

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from interlcm.model import InterLCM

COLORS = slice(0, 3)
CONSTANTS = (3, 4, 5, 6)
LEVELS = torch.tensor([8.0, -8.0, 8.0, -8.0])  # much above the pictures' -1 to 1, and zero on average
LINEAR = 12.0  # where SiLU is the identity to 1e-4


@torch.no_grad()
def start_as_identity(model: InterLCM) -> None:
    """Set the VAE to the identity, and the estimate of x_0 to the latent of the crop, whatever the noisy latent is."""
    start_vae(model.vae)
    unet, control = model.unet, model.spatial_encoder
    for conv_in in (unet.conv_in, control.conv_in):  # these channels hold only the crop
        forget_colors(conv_in)
    embedding = control.controlnet_cond_embedding
    copy_colors(embedding.conv_in)
    embedding.conv_in.bias[COLORS] = LINEAR
    copy_colors(embedding.conv_out)
    embedding.conv_out.bias[COLORS] = -LINEAR
    copy_colors(control.controlnet_down_blocks[0])
    last = unet.up_blocks[-1].resnets[-1]  # its input ends with the channels of conv_in, which hold the crop
    copy_colors(last.conv_shortcut, offset=last.conv_shortcut.in_channels - unet.conv_in.out_channels)
    add_constants(last.conv_shortcut)
    still(last)
    read_colors(unet.conv_norm_out, unet.conv_out, scale=model.vae.config.scaling_factor)


def start_vae(vae: AutoencoderKL) -> None:
    for half in (vae.encoder, vae.decoder):
        copy_colors(half.conv_in)
        add_constants(half.conv_in)
        for block in half.modules():
            if isinstance(block, ResnetBlock2D):
                still(block)
        read_colors(half.conv_norm_out, half.conv_out)
    latent = vae.config.latent_channels
    vae.encoder.conv_out.bias[latent:] = -10.0  # logarithm of the posterior's variance
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)


def copy_colors(conv: nn.Conv2d, offset: int = 0) -> None:
    """Output channels 0 to 2 become input channels `offset` to `offset + 2`, unchanged."""
    middle = conv.kernel_size[0] // 2
    forget_colors(conv)
    for color in range(3):
        conv.weight[color, offset + color, middle, middle] = 1


def forget_colors(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight[COLORS])
    if conv.bias is not None:
        nn.init.zeros_(conv.bias[COLORS])


def add_constants(conv: nn.Conv2d) -> None:
    assert conv.bias is not None
    conv.weight[list(CONSTANTS)] = 0
    conv.bias[list(CONSTANTS)] = LEVELS


def still(block: ResnetBlock2D) -> None:
    """Make a residual block add nothing."""
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)


def read_colors(norm: nn.GroupNorm, conv: nn.Conv2d, scale: float = 1.0) -> None:
    """Undo group norm and SiLU for the colours: the constants show how the norm has shifted and scaled them.

    The norm's deviation is sqrt(4 * 8^2 / channels), because the constants outweigh all else.
    """
    deviation = float((LEVELS.square().sum() / norm.num_channels).sqrt())
    carried = [0, 1, 2, *CONSTANTS]
    norm.weight[carried] = 1
    norm.bias[carried] = LINEAR
    middle = conv.kernel_size[0] // 2
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    for color in range(3):
        conv.weight[color, color, middle, middle] = scale * deviation
        # The mean of the constants is the shift; it also cancels LINEAR.
        conv.weight[color, list(CONSTANTS), middle, middle] = -scale * deviation / len(CONSTANTS)
