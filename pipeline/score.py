"""What the manifest says about a restored face, and which faces a person should look at."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from interlcm.metrics import delta_e, psnr, sharpness, ssim

# Review thresholds, restored face against its aligned input. Perfect removal of strong grain (sigma 25 of
# 255) gives 20 log10(255 / 25) = 20.2 dB, so less than 18 dB is more change than grain.
MIN_PSNR = 18.0
# The same grain, of its own in each channel, measures 13 to 15 mean CIEDE2000 (grey grain 5); beyond 18 the
# colours moved.
MAX_DELTA_E = 18.0

FaceScore = dict[str, float | bool | str | None]


def score_face(aligned: npt.NDArray[np.uint8], restored: npt.NDArray[np.uint8]) -> FaceScore:
    """The measured columns of one face in the manifest.

    aligned, restored: (S, S, 3) uint8 RGB. psnr is null for a face that did not change at all (it would be
    infinite). identity_similarity and quality_* need weights of their own and are null. review_reason joins
    its reasons with "; " and is null where needs_review is false.
    """
    ratio, colour = psnr(restored, aligned), delta_e(restored, aligned)
    reasons = review_reasons(ratio, colour)
    return {
        "psnr": ratio if math.isfinite(ratio) else None,
        "ssim": ssim(restored, aligned),
        "identity_similarity": None,
        "quality_before": None,
        "quality_after": None,
        "sharpness_before": sharpness(aligned),
        "sharpness_after": sharpness(restored),
        "delta_e": colour,
        "needs_review": bool(reasons),
        "review_reason": "; ".join(reasons) or None,
    }


def review_reasons(psnr: float, delta_e: float) -> list[str]:
    """Why a person should look at a face: it changed more than grain explains (dB), or its colours moved
    (CIEDE2000)."""
    reasons = []
    if psnr < MIN_PSNR:
        reasons.append(f"changed much: psnr {psnr:.1f} dB is below {MIN_PSNR:.0f}")
    if delta_e > MAX_DELTA_E:
        reasons.append(f"colours moved: delta_e {delta_e:.1f} is above {MAX_DELTA_E:.0f}")
    return reasons
