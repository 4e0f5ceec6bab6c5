"""The held-out portrait: without a test set, it shows how much of a known degradation the weights remove."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from interlcm.weights_index import opened
from jobs import samples
from pipeline.config.settings import Settings
from pipeline.evaluation.grid import grid as draw
from pipeline.run.prepare import settled
from pipeline.weights.local import weights_folder

if TYPE_CHECKING:
    from interlcm.model import InterLCM


@dataclass(frozen=True)
class Result:
    """Means over the held-out crops at one noise level: PSNR in dB, SSIM at most 1, CIEDE2000 to the sharp crop.

    `delta_e` is the mean over the pixels, `cast` compares the mean colours. `delta_e_grainless` is the mean over the
    pixels for the input without its noise, as if exactly the grain had been removed.
    """

    noise: str
    crops: int
    psnr_lq: float
    psnr_restored: float
    psnr_nlm: float
    ssim_lq: float
    ssim_restored: float
    delta_e: float
    delta_e_grainless: float
    cast: float

    @property
    def gain(self) -> float:
        return self.psnr_restored - self.psnr_lq


# Standard deviations of the noise in 8-bit steps: the range of old scans, then its two ends.
STRENGTHS = ((15.0, 25.0), (15.0, 15.0), (25.0, 25.0))


def show(settings: Settings, grid: Path | None) -> None:
    """Print the table of all noise levels; the grid shows the first. The variant and the steps are those of a run."""
    from interlcm.model import InterLCM

    parts = opened(weights_folder(settings.weights))
    settings = settled(replace(settings, aligned=True), parts, signed=False)
    model = InterLCM.from_pretrained(parts, settings.variant)
    print("   noise crops  PSNR LQ restored   gain    NLM  SSIM LQ restored dE00 grainless cast")
    for low, high in STRENGTHS:
        r = measure(model, (low, high), settings.steps, settings.color_fix, grid if low != high else None)
        print(
            f"{r.noise:>8} {r.crops:5d} {r.psnr_lq:8.2f} {r.psnr_restored:8.2f} {r.gain:+6.2f} "
            f"{r.psnr_nlm - r.psnr_lq:+6.2f} {r.ssim_lq:8.3f} {r.ssim_restored:8.3f} "
            f"{r.delta_e:4.1f} {r.delta_e_grainless:9.1f} {r.cast:4.2f}"
        )
    print("gain, NLM: dB over the input, of these weights and of OpenCV's fastNlMeansDenoisingColored")


def measure(
    model: "InterLCM", noise: tuple[float, float], steps: int = 4, color_fix: str = "auto", grid: Path | None = None
) -> Result:
    """Restore the held-out crops at one noise level; the same degradation every time."""
    import torch

    from interlcm.degradation import Degradation, degrade
    from interlcm.metrics import cast, delta_e, psnr, ssim
    from interlcm.pixels import to_pixels, to_tensor

    crops = np.stack(list(samples.held_out_crops(model.image_size)))  # (N, S, S, 3) uint8
    hq = to_tensor(crops)
    lq = degrade(hq, Degradation(noise=noise), torch.Generator().manual_seed(0))
    # One by one: a batch is no faster here and needs more memory.
    restored = torch.cat([model.restore(one[None], steps, [n], color_fix) for n, one in enumerate(lq)])
    before, after = to_pixels(lq), to_pixels(restored)
    grainless = to_pixels(degrade(hq, Degradation(noise=(0.0, 0.0)), torch.Generator().manual_seed(0)))
    nlm = np.stack([non_local_means(one) for one in before])
    if grid is not None:
        rows = list(zip(before, after, crops, strict=True))[:3]
        draw(["LQ", "restored", "HQ"], rows).save(grid)
    low, high = noise
    return Result(
        noise=f"{low:g}-{high:g}" if low != high else f"{low:g}",
        crops=len(crops),
        psnr_lq=float(np.mean([psnr(a, b) for a, b in zip(before, crops, strict=True)])),
        psnr_restored=float(np.mean([psnr(a, b) for a, b in zip(after, crops, strict=True)])),
        psnr_nlm=float(np.mean([psnr(a, b) for a, b in zip(nlm, crops, strict=True)])),
        ssim_lq=float(np.mean([ssim(a, b) for a, b in zip(before, crops, strict=True)])),
        ssim_restored=float(np.mean([ssim(a, b) for a, b in zip(after, crops, strict=True)])),
        delta_e=float(np.mean([delta_e(a, b) for a, b in zip(after, crops, strict=True)])),
        delta_e_grainless=float(np.mean([delta_e(a, b) for a, b in zip(grainless, crops, strict=True)])),
        cast=float(np.mean([cast(a, b) for a, b in zip(after, crops, strict=True)])),
    )


def non_local_means(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's denoiser for colour pictures with the strengths its documentation suggests, for comparison."""
    return np.asarray(cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(pixels), None, 10, 10, 7, 21))
