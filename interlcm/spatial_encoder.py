"""The Spatial Encoder of InterLCM (arXiv 2502.02215, section 3.2): a ControlNet that carries the face's structure."""

from collections.abc import Sequence

from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

# ControlNet's own widths: each step after the first halves the crop, so three steps reduce 512 px to 64.
CONDITIONING_CHANNELS = (16, 32, 96, 256)
# Replaces the encoder's embedding of the crop while it runs on an embedded one. One module for all: torch.compile takes
# a different module for a different network.
EMBEDDED = nn.Identity()


def spatial_encoder_for(
    unet: UNet2DConditionModel, conditioning_channels: Sequence[int] = CONDITIONING_CHANNELS
) -> ControlNetModel:
    """A ControlNet with the encoder weights of `unet` and zero output convolutions (arXiv 2302.05543, section 3.1).

    The guidance embedding of an LCM is left out: the published spatial encoder starts from SD 1.5, which has none.

    Args:
        unet: the denoising network that takes the residuals.
        conditioning_channels: widths of the crop embedding; `len - 1` of them halve the crop, which must bring it
            to the latent's size (three halvings for f = 8).
    """
    config = {**unet.config, "time_cond_proj_dim": None}
    donor = UNet2DConditionModel.from_config(config)
    donor.load_state_dict({k: v for k, v in unet.state_dict().items() if "time_embedding.cond_proj" not in k})
    return ControlNetModel.from_unet(donor, conditioning_embedding_out_channels=tuple(conditioning_channels))


def embed(encoder: ControlNetModel, lq: Tensor) -> Tensor:
    """Embed the crop for all steps: (N, 3, H, W) in [-1, 1] -> (N, D, h, w), which the encoder adds to its features.

    The crop is in [-1, 1], where ControlNets usually take [0, 1].
    """
    return encoder.controlnet_cond_embedding(lq)


def structure(
    encoder: ControlNetModel, noisy: Tensor, timestep: Tensor, prompt: Tensor, embedded: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Residuals for the UNet's skips and middle.

    Args:
        noisy: (N, C, h, w) latent at `timestep`, which is (N,).
        prompt: (N, L, D) prompt embedding from the visual encoder.
        embedded: the result of `embed`. diffusers would embed the crop again in each step, at its full size.
    """
    embedding = encoder.controlnet_cond_embedding
    encoder.controlnet_cond_embedding = EMBEDDED
    try:
        return encoder(noisy, timestep, encoder_hidden_states=prompt, controlnet_cond=embedded, return_dict=False)
    finally:
        encoder.controlnet_cond_embedding = embedding
