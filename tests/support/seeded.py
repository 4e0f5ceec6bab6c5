"""The published architecture, and a small one of the same parts, with weights that are equal everywhere.

Reference outputs exist for these weights, so they stand in for the published ones in comparisons.
"""

import zlib
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, LCMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from interlcm import InterLCM, VisualEncoder

UNET_WIDTHS = {"full": (320, 640, 1280, 1280), "small": (32, 64, 64, 64)}
VAE_WIDTHS = {"full": (128, 256, 512, 512), "small": (32, 32, 32, 32)}
LAYERS_PER_BLOCK = {"full": 2, "small": 1}


def seeded_model(size: str) -> InterLCM:
    """InterLCM of Stable Diffusion 1.5's shape (`full`), or narrower (`small`), for 512 px crops."""
    unet = unet_of(size, time_cond_proj_dim=256)
    return InterLCM(
        unet=seeded(unet, "unet"),
        vae=seeded(vae_of(size), "vae"),
        spatial_encoder=seeded(ControlNetModel.from_unet(unet_of(size)), "spatial_encoder"),
        visual_encoder=seeded(VisualEncoder(), "visual_encoder"),
        clip=seeded(clip_of(size), "clip"),
        scheduler=LCMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            num_train_timesteps=1000,
            original_inference_steps=50,
            prediction_type="epsilon",
            clip_sample=False,
            set_alpha_to_one=True,
            steps_offset=1,
            timestep_spacing="leading",
        ),
    ).eval()


def unet_of(size: str, time_cond_proj_dim: int | None = None) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=UNET_WIDTHS[size],
        layers_per_block=LAYERS_PER_BLOCK[size],
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def vae_of(size: str) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=VAE_WIDTHS[size],
        layers_per_block=LAYERS_PER_BLOCK[size],
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.18215,
    )


def clip_of(size: str) -> CLIPVisionModel:
    full = size == "full"
    config = CLIPVisionConfig(
        image_size=224,
        patch_size=16,
        hidden_size=768,
        intermediate_size=3072 if full else 256,
        num_hidden_layers=12 if full else 2,
        num_attention_heads=12,
    )
    return CLIPVisionModel(config)


def seeded(part: Any, component: str) -> Any:
    """`part`, a module, with each floating-point tensor drawn from a generator that its name seeds."""
    drawn = {
        name: seeded_tensor(f"{component}/{name.removeprefix('vision_model.')}", tensor.shape)
        for name, tensor in part.state_dict().items()
        if tensor.is_floating_point()
    }
    part.load_state_dict(drawn, strict=False)  # integer buffers, such as position ids, stay
    return part


def seeded_tensor(name: str, shape: torch.Size) -> Tensor:
    """Normal numbers: deviation fan_in ** -0.5 for kernels and matrices, 0.05 for vectors, gains around 1."""
    bits = np.random.PCG64(zlib.crc32(name.encode()))
    normal = torch.from_numpy(np.random.Generator(bits).standard_normal(tuple(shape), dtype=np.float32))
    if len(shape) > 1:
        return normal / shape[1:].numel() ** 0.5
    return normal * 0.05 + (1.0 if name.endswith("weight") else 0.0)
