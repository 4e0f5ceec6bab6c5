"""InterLCM (arXiv 2502.02215): a low-quality face taken as an intermediate state of a latent consistency model."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# These libraries make very many objects, which all stay. While they are imported, Python would search all of these for
# garbage again and again, at the cost of every process that holds the model.
_collecting = gc.isenabled()
gc.disable()
try:
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, LCMScheduler, UNet2DConditionModel
    from diffusers.models.embeddings import get_timestep_embedding
    from torch import Tensor, nn
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from interlcm import color_fix as interlcm_color_fix
    from interlcm import schedule, weights, weights_saving
    from interlcm.device import upload
    from interlcm.image_tokens import image_tokens
    from interlcm.spatial_encoder import embed, spatial_encoder_for, structure
    from interlcm.tasks import AUTO, TASKS, color_fix_for
    from interlcm.visual_encoder import VisualEncoder
    from interlcm.weights_index import Parts, opened
finally:
    if _collecting:
        gc.enable()

GUIDANCE = 8.0


@dataclass(frozen=True)
class Conditions:
    """The inputs of the networks besides x_t, the same in every step.

    Attributes:
        prompt: (N, L, D) from the visual encoder.
        embedded: (N, D, h, w) the crop, embedded by the spatial encoder.
        guidance: (N, width); None if the UNet takes none.
    """

    prompt: Tensor
    embedded: Tensor
    guidance: Tensor | None


class InterLCM(nn.Module):
    """The whole restoration network; six parts that diffusers and transformers load, joined by `restore`.

    Args:
        unet, vae, scheduler: a latent consistency model (published: SimianLuo/LCM_Dreamshaper_v7).
        spatial_encoder: ControlNet on the crop.
        visual_encoder: CLIP tokens to prompt embedding.
        clip: CLIP vision tower.
        image_size: side of the crops the weights were trained on, px.
        task: restore, colorize or inpaint: which defaults `restore` takes.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        spatial_encoder: ControlNetModel,
        visual_encoder: VisualEncoder,
        clip: CLIPVisionModel,
        scheduler: LCMScheduler,
        image_size: int = 512,
        task: str = "restore",
    ) -> None:
        super().__init__()
        self.unet, self.vae, self.clip = unet, vae, clip
        self.spatial_encoder, self.visual_encoder = spatial_encoder, visual_encoder
        self.scheduler = scheduler
        self.image_size, self.task = image_size, task

    @classmethod
    def untrained(cls, configs: dict[str, dict[str, Any]], image_size: int) -> InterLCM:
        """A model with fresh weights; `configs` holds the constructor arguments of each part, by name.

        `spatial_encoder` takes `conditioning_channels` (see `spatial_encoder_for`); all else comes from the UNet.
        """
        unet = UNet2DConditionModel(**configs["unet"])
        return cls(
            unet=unet,
            vae=AutoencoderKL(**configs["vae"]),
            spatial_encoder=spatial_encoder_for(unet, **configs["spatial_encoder"]),
            visual_encoder=VisualEncoder(**configs["visual_encoder"]),
            clip=CLIPVisionModel(CLIPVisionConfig(**configs["clip"])),
            scheduler=LCMScheduler(**configs["scheduler"]),
            image_size=image_size,
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path | Parts, variant: str = "3step") -> InterLCM:
        """Load one variant from a local weights folder; WeightsError names what is missing, damaged or unexpected.

        folder: "demo" stands for the weights that come with the package. Files of Parts are compared with its index.
        """
        listed = opened(folder)
        parts, index = weights.load_components(listed, variant), listed.index
        return cls(**parts, image_size=index["image_size"], task=index["variants"][variant]["task"]).eval()

    def save_pretrained(self, folder: str | Path, variant: str = "3step", **about: Any) -> None:
        """Write the weights folder of one variant, with digests; `about` goes to `weights_saving.save_components`."""
        about = {"image_size": self.image_size, "task": self.task, **about}
        weights_saving.save_components(Path(folder), variant, self.components(), **about)

    def components(self) -> dict[str, Any]:
        names = ("unet", "vae", "spatial_encoder", "visual_encoder", "clip", "scheduler")
        return {name: getattr(self, name) for name in names}

    def compile_networks(self, **options: Any) -> None:
        """Compile the large networks with torch.compile; their first call with each shape then takes minutes.

        options: of torch.compile, such as a backend.
        """
        for network in self.large_networks():
            network.compile(dynamic=False, **options)

    def run_eagerly(self) -> None:
        """Undo `compile_networks`."""
        for network in self.large_networks():
            network._compiled_call_impl = None  # which `nn.Module.compile` sets

    def large_networks(self) -> tuple[nn.Module, ...]:
        return self.unet, self.spatial_encoder, self.vae.encoder, self.vae.decoder

    @property
    def device(self) -> torch.device:
        return self.unet.device

    def prompt(self, lq: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, L, D), which takes the place of the UNet's text prompt."""
        return self.visual_encoder(image_tokens(self.clip, lq))

    def encode(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> scaled latent (N, C, H/f, W/f): the mean of the VAE's posterior, no sampling."""
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return posterior.mean.float() * self.vae.config.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (N, C, h, w) -> (N, 3, f h, f w), about [-1, 1], not clamped."""
        return self.vae.decode((latent / self.vae.config.scaling_factor).to(self.vae.dtype)).sample.float()

    def denoise(self, noisy: Tensor, timestep: int, prompt: Tensor, lq: Tensor) -> Tensor:
        """One evaluation: the estimate of x_0 (N, C, h, w) from x_t, with the spatial encoder's residuals."""
        return self.evaluate(noisy, timestep, self.conditions(prompt, lq))

    def conditions(self, prompt: Tensor, lq: Tensor) -> Conditions:
        """What all steps of one restoration share, computed once, in the dtype of the networks."""
        dtype = self.unet.dtype
        embedded = embed(self.spatial_encoder, lq.to(dtype))
        return Conditions(prompt.to(dtype), embedded, self.guidance_embedding(len(lq)))

    def evaluate(self, noisy: Tensor, timestep: int, given: Conditions) -> Tensor:
        """`denoise` with conditions that are computed already."""
        x = noisy.to(self.unet.dtype)
        # Filled on the device: diffusers would copy a number there, and wait.
        time = torch.full((len(x),), timestep, device=x.device)
        skips, middle = structure(self.spatial_encoder, x, time, given.prompt, given.embedded)
        output = self.unet(
            x,
            time,
            encoder_hidden_states=given.prompt,
            timestep_cond=given.guidance,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return schedule.consistency_estimate(self.scheduler, noisy, output.float(), timestep)

    def guidance_embedding(self, count: int) -> Tensor | None:
        """(count, width) embedding of w = guidance - 1 (arXiv 2310.04378, section 4.3); None if the UNet takes none."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return None
        # 1000 w: it is embedded like a timestep, which runs to 1000.
        w = torch.full((count,), (GUIDANCE - 1) * 1000, device=self.device)
        return get_timestep_embedding(w, width, downscale_freq_shift=1).to(self.unet.dtype)

    def unroll(self, lq: Tensor, steps: int, seeds: Sequence[int]) -> Tensor:
        """All steps, differentiable: crop (N, 3, H, W) in [-1, 1] -> restored latent (N, C, h, w), scaled.

        The latent of the crop serves as the estimate at the first timestep; at every later one the estimate is
        re-noised and denoised (arXiv 2502.02215, algorithm 1).
        """
        if len(seeds) != len(lq):
            raise ValueError(f"{len(seeds)} seeds for {len(lq)} faces")
        later = schedule.timesteps(self.scheduler, steps)[1:]
        given, clean = self.conditions(self.prompt(lq), lq), self.encode(lq)
        noises = upload(schedule.face_noise(seeds, clean.shape[1:], draws=len(later)), clean.device)
        for timestep, noise in zip(later, noises, strict=True):
            noisy = schedule.add_noise(self.scheduler, clean, noise, timestep)
            clean = self.evaluate(noisy, timestep, given)
        return clean

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        steps: int = 4,
        seeds: Sequence[int] | None = None,
        color_fix: str = AUTO,
        keep_monochrome: bool | None = None,
    ) -> Tensor:
        """Restore aligned faces.

        Args:
            lq: (N, 3, H, W) float, RGB, [-1, 1].
            steps: 2, 3 or 4, counting the first, where no network runs.
            seeds: one for each face; 0 for all when None.
            color_fix: "wavelet", "adain" or "none"; "auto": what the task needs (`tasks.TASKS`).
            keep_monochrome: whether a monochrome input stays monochrome; None: what the task needs.

        Returns:
            (N, 3, H, W) float32, RGB, about [-1, 1], not clamped, on the device of `lq`.
        """
        f = 2 ** (len(self.vae.config.block_out_channels) - 1)  # pixels per latent
        if lq.ndim != 4 or lq.shape[1] != 3 or not all(lq.shape) or lq.shape[2] % f or lq.shape[3] % f:
            raise ValueError(f"lq is {tuple(lq.shape)}; restore needs (N, 3, H, W), H and W multiples of {f}")
        lq = lq.float()
        restored = self.decode(self.unroll(lq, steps, seeds if seeds is not None else [0] * len(lq)))
        restored = interlcm_color_fix.fix_color(restored, lq, color_fix_for(self.task, color_fix))
        keep = TASKS[self.task].keep_monochrome if keep_monochrome is None else keep_monochrome
        return interlcm_color_fix.keep_monochrome(restored, lq) if keep else restored
