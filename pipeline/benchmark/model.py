"""How fast the model restores faces on this machine, and what each optimisation gains and costs in precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from interlcm import color_fix, schedule
from interlcm.device import place
from interlcm.model import InterLCM
from interlcm.spatial_encoder import embed

STEPS = 4
GEMM = {"cpu": 1024, "cuda": 8192}  # side of the square matrices whose product shows the device's speed
LONG = 1.0  # seconds after which one product is enough: it takes several on processors without bfloat16
# Linux: writing 5 here resets the peak of the resident memory to its present size (proc(5), clear_refs).
CLEAR_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Size:
    """An architecture: `width` times the published channels in UNet and VAE, so many layers in each of their blocks;
    side of the crops in px; CLIP's layers."""

    width: float
    pixels: int
    clip_layers: int = 12
    layers: int = 2


SIZES = {"tiny": Size(0.1, 64, clip_layers=1, layers=1), "small": Size(0.5, 256), "full": Size(1.0, 512)}


def configs(size: Size) -> dict[str, dict[str, Any]]:
    """Constructor arguments of the published parts: Stable Diffusion 1.5 as an LCM, and CLIP ViT-B/16."""
    published = (320, 640, 1280, 1280), (128, 256, 512, 512)
    unet, vae = ([max(32, round(size.width * n / 32) * 32) for n in widths] for widths in published)
    return {
        "unet": {
            "sample_size": size.pixels // 8, "block_out_channels": unet, "layers_per_block": size.layers,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "cross_attention_dim": 768, "attention_head_dim": 8, "time_cond_proj_dim": 256,
        },
        "vae": {
            "block_out_channels": vae, "layers_per_block": size.layers, "latent_channels": 4,
            "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
        },
        "spatial_encoder": {},
        "visual_encoder": {},
        "clip": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": size.clip_layers,
                 "num_attention_heads": 12, "patch_size": 16, "image_size": 224},
        "scheduler": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1},
    }  # fmt: skip


def random_model(size: Size, device: torch.device) -> InterLCM:
    """The architecture with seeded random weights, made on the device."""
    with device:
        model = InterLCM.untrained(configs(size), size.pixels).eval()
    if device.type != "meta":
        generator = torch.Generator(device).manual_seed(0)
        for name, tensor in model.named_parameters():
            fill(name, tensor, generator)
    return model.requires_grad_(False)


@torch.no_grad()
def fill(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Normal random numbers, of deviation fan_in ** -0.5 for kernels and matrices, so that signals keep their size."""
    if tensor.ndim > 1:
        tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    else:
        tensor.normal_(1.0 if name.endswith("weight") else 0.0, 0.05, generator=generator)


def faces(count: int, pixels: int) -> Tensor:
    """Made-up crops (count, 3, S, S) in [-1, 1]: smooth colours with grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 3, 8, 8), generator=generator) * 1.6 - 0.8
    smooth = F.interpolate(coarse, size=pixels, mode="bicubic")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


def plain(model: InterLCM, lq: Tensor, seed: int) -> Tensor:
    """Restore one face (1, 3, S, S) by calling the modules one after another as their libraries do: nothing is shared
    between steps, and each number is copied when needed. `InterLCM.restore` must give the same."""
    prompt, clean = model.prompt(lq), model.encode(lq)
    later = schedule.timesteps(model.scheduler, STEPS)[1:]
    for timestep, noise in zip(later, schedule.face_noise([seed], clean.shape[1:], len(later)), strict=True):
        noisy = schedule.add_noise(model.scheduler, clean, noise.to(clean.device), timestep)
        skips, middle = model.spatial_encoder(noisy, timestep, prompt, lq, return_dict=False)
        output = model.unet(
            noisy, timestep, prompt, timestep_cond=model.guidance_embedding(1),
            down_block_additional_residuals=skips, mid_block_additional_residual=middle,
        ).sample  # fmt: skip
        clean = schedule.consistency_estimate(model.scheduler, noisy, output, timestep)
    restored = color_fix.fix_color(model.decode(clean), lq, "wavelet")
    return color_fix.keep_monochrome(restored, lq)


def measure(model: InterLCM, device: torch.device, flops: float, count: int, batch: int) -> Iterator[dict[str, Any]]:
    """One row for each way to restore the same `count` faces: seconds for each, memory, and PSNR to the plain loop.

    flops: of one face. batch: faces in a micro-batch, at most `count`, for the rows with micro-batches. The changes of
    the last row stay in the model.
    """
    lq, seeds, batch = faces(count, model.image_size), list(range(count)), min(batch, count)

    def loop() -> Tensor:
        return torch.cat([plain(model, one[None].to(device), seed).cpu() for one, seed in zip(lq, seeds, strict=True)])

    def restored(size: int) -> Callable[[], Tensor]:
        starts = range(0, count, size)
        return lambda: torch.cat(
            [model.restore(lq[n : n + size].to(device), STEPS, seeds[n : n + size]).cpu() for n in starts]
        )

    reference: Tensor | None = None
    first = 0.0
    for name, dtype, prepare, work in ways(model, device, batch, loop, restored):
        prepare()
        with torch.inference_mode():
            work()  # warms up: kernels are chosen
            restart_peak(device)
            begun = time.perf_counter()
            result = work()
            seconds = (time.perf_counter() - begun) / count
        reference, first = (result, seconds) if reference is None else (reference, first)
        limit = product_rate(device, dtype)
        yield {
            "model": name,
            "s/face": seconds,
            "faces/s": 1 / seconds,
            "x plain": first / seconds,
            "PSNR dB": psnr(result, reference) if result is not reference else None,
            "peak GB": peak(device),
            "TFLOP/s": flops / seconds / 1e12,
            "% of a matrix product": 100 * flops / seconds / limit,
        }


def ways(
    model: InterLCM,
    device: torch.device,
    batch: int,
    loop: Callable[[], Tensor],
    restored: Callable[[int], Callable[[], Tensor]],
) -> Iterator[tuple[str, torch.dtype, Callable[[], Any], Callable[[], Tensor]]]:
    """Name, dtype, preparation and work of each row. Each keeps the changes that earlier rows made to the model."""
    single, half = torch.float32, torch.bfloat16
    yield "plain loop, float32, one face at a time", single, lambda: model.to(device, single), loop
    yield "crop embedded once, no copies per step", single, lambda: None, restored(1)
    yield "+ channels last", single, lambda: place(model, device, single), restored(1)
    if batch > 1:
        yield f"+ micro-batches of {batch}", single, lambda: None, restored(batch)
    # On a CPU a run has micro-batches of one.
    size = batch if device.type == "cuda" else 1
    yield f"+ bfloat16, micro-batches of {size}", half, lambda: place(model, device, half), restored(size)


def parts(size: Size) -> Iterator[dict[str, Any]]:
    """One row for each part of the model: TFLOP for one face at four steps, counted with tensors without storage."""
    device = torch.device("meta")
    model = random_model(size, device)
    lq = torch.empty((1, 3, size.pixels, size.pixels), device=device)
    latent = torch.empty((1, 4, size.pixels // 8, size.pixels // 8), device=device)
    prompt = torch.empty((1, 77, 768), device=device)
    given = model.conditions(prompt, lq)
    later = STEPS - 1
    networks = (model.unet, model.spatial_encoder)
    attended = [part for network in networks for name, part in network.named_modules() if name.endswith("attn2")]
    evaluation = counted(lambda: model.evaluate(latent, 499, given))
    work = {
        "CLIP and visual encoder": counted(lambda: model.prompt(lq)),
        "VAE encoder": counted(lambda: model.encode(lq)),
        "spatial encoder: embedding of the crop": counted(lambda: embed(model.spatial_encoder, lq)),
        f"spatial encoder and UNet, {later} steps": later * evaluation,
        "VAE decoder": counted(lambda: model.decode(latent)),
    }
    total = sum(work.values())
    keys = later * counted(lambda: [(one.to_k(prompt), one.to_v(prompt)) for one in attended])
    rows = {**work, "all": total, "of which keys and values of the prompt": keys}
    yield from ({"part": name, "TFLOP": flops / 1e12, "%": 100 * flops / total} for name, flops in rows.items())


def counted(work: Callable[[], Any]) -> float:
    """Floating-point operations of `work`: two for each multiplication with its addition."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product: about the device's maximum in this dtype."""
    side = GEMM[device.type]
    one = torch.randn((side, side), device=device).to(dtype)
    rates = []
    for _ in range(4):
        synchronise(device)
        begun = time.perf_counter()
        one @ one
        synchronise(device)
        seconds = time.perf_counter() - begun
        rates.append(2 * side**3 / seconds)
        if seconds > LONG:
            break
    return max(rates)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def restart_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR_PEAK.exists():
        CLEAR_PEAK.write_text("5")


def peak(device: torch.device) -> float | None:
    """Peak GB since `restart_peak`: of tensors on a GPU, of this process on a CPU; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    if not CLEAR_PEAK.exists():
        return None
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e9


def psnr(one: Tensor, other: Tensor) -> float:
    """dB, of pictures in [-1, 1]; at most 150, the level of float32's rounding."""
    error = (one.clamp(-1, 1) - other.clamp(-1, 1)).double().square().mean()
    return float(10 * torch.log10(4 / error.clamp(min=4e-15)))
