"""Real modules of a few thousand weights each, and a weights folder of them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, LCMScheduler, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModel

from interlcm.model import InterLCM
from interlcm.spatial_encoder import spatial_encoder_for
from interlcm.visual_encoder import VisualEncoder
from interlcm.weights_saving import save_components

IMAGE_SIZE = 32  # px; the latent is 16 x 16, CLIP sees 2 x 2 patches and a class token


def components(seed: int = 0) -> dict[str, Any]:
    """The six parts of a tiny InterLCM: halving VAE, prompt of 4 x 32, random weights."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        time_cond_proj_dim=16,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=IMAGE_SIZE,
    )
    clip_config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        patch_size=16,
        image_size=32,
    )
    return {
        "unet": unet,
        "vae": vae,
        "spatial_encoder": spatial_encoder_for(unet, conditioning_channels=(8, 8)),
        "visual_encoder": VisualEncoder(
            tokens=5, embeddings=4, channels=(32, 32), lengths=(16, 32), blocks_per_stage=1
        ),
        "clip": CLIPVisionModel(clip_config),
        "scheduler": LCMScheduler(steps_offset=1),
    }


def model(seed: int = 0) -> InterLCM:
    """A tiny InterLCM in evaluation mode, whose spatial encoder already has an effect."""
    parts = components(seed)
    for tensor in parts["spatial_encoder"].parameters():
        if not tensor.any():  # ControlNet's zero convolutions, and biases
            torch.nn.init.normal_(tensor, std=0.05)
    return InterLCM(**parts, image_size=IMAGE_SIZE).eval()


def faces(count: int, seed: int = 0) -> torch.Tensor:
    """Crops in colour (count, 3, 32, 32) in [-1, 1]: smooth random colours with some grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 4, 4), generator=generator) * 1.6 - 0.8
    smooth = torch.nn.functional.interpolate(coarse, size=IMAGE_SIZE, mode="bilinear")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


def weights_folder(folder: Path, variant: str = "3step", seed: int = 0) -> dict[str, Any]:
    """Save a tiny InterLCM as a weights folder; returns its parts."""
    parts = components(seed)
    save_components(folder, variant, parts, image_size=IMAGE_SIZE, licence="test", origin="random")
    return parts


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
