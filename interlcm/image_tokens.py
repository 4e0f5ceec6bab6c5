"""CLIP image tokens of a face crop: the input of the visual encoder."""

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

# Mean and standard deviation of CLIP's training pictures, RGB in [0, 1] (Radford et al. 2021, released code).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def image_tokens(clip: CLIPVisionModel, lq: Tensor) -> Tensor:
    """All tokens of CLIP's last layer, each through the final layer norm, without projection.

    Args:
        clip: vision tower; crops are resized to its `image_size`, P x P.
        lq: (N, 3, H, W) RGB in [-1, 1].

    Returns:
        (N, T, C): class token first, then one token per patch (T = 197, C = 768 for ViT-B/16).
    """
    size = clip.config.image_size
    dtype = next(clip.parameters()).dtype
    # No antialiasing: the published encoders were trained on tensors resized by torchvision 0.14, which had none.
    pixels = F.interpolate((lq.float() + 1) / 2, size=(size, size), mode="bicubic", antialias=False)
    # Channel by channel: numbers go to a GPU with the call; copying a tensor of them would stall.
    channels = zip(pixels.unbind(1), CLIP_MEAN, CLIP_STD, strict=True)
    normal = torch.stack([(channel - mean) / std for channel, mean, std in channels], 1)
    hidden = clip(pixel_values=normal.to(dtype)).last_hidden_state  # (N, T, C)
    # transformers normalises only the class token (for `pooler_output`); InterLCM needs all of them normalised.
    vision = getattr(clip, "vision_model", clip)
    return vision.post_layernorm(hidden)
