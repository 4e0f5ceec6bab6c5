"""Measure restored faces for the manifest, and choose those that a person should look at."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from interlcm.metrics import delta_e, psnr, sharpness, ssim
from pipeline.config.settings import Review
from pipeline.stages.row import Row


def compared(face: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> Row:
    """psnr, ssim and delta_e of two faces (S, S, 3) uint8 RGB; psnr is null for equal faces, where it is infinite."""
    ratio = psnr(face, reference)
    return {
        "psnr": ratio if math.isfinite(ratio) else None,
        "ssim": ssim(face, reference),
        "delta_e": delta_e(face, reference),
    }


def score_face(aligned: npt.NDArray[np.uint8], restored: npt.NDArray[np.uint8], found: Row, review: Review) -> Row:
    """The measured columns of one face in the manifest.

    aligned, restored: (S, S, 3) uint8 RGB. found: the face so far: score, eye_distance (px), landmark_error, rotation
    of its photo (degrees), identity_similarity, quality_before, quality_after and face_share. The last four are passed
    on; they are null without their own weights. review_reason joins the reasons with "; " and is null if needs_review
    is false.
    """
    measured: Row = {
        **compared(restored, aligned),
        "identity_similarity": found.get("identity_similarity"),
        "quality_before": found.get("quality_before"),
        "quality_after": found.get("quality_after"),
        "face_share": found.get("face_share"),
        "sharpness_before": sharpness(aligned),
        "sharpness_after": sharpness(restored),
    }
    reasons = review_reasons({**found, **measured}, review)
    if found.get("rotation"):
        reasons.append(f"found in a turned photo: rotation {found['rotation']} degrees")
    return {**measured, "needs_review": bool(reasons), "review_reason": "; ".join(reasons) or None}


def review_reasons(face: Row, review: Review) -> list[str]:
    """Why a person should look at a face: each measure beyond its threshold, in words, with number and unit.

    face: the face's columns of the manifest. A null measure gives no reason.
    """
    below = (
        ("changed a lot", "psnr", review.min_psnr, " dB"),
        ("possibly another person", "identity_similarity", review.min_identity, ""),
        ("small face", "eye_distance", review.min_eye_distance, " px"),
        ("possibly no face", "face_share", review.min_face_share, ""),
        ("uncertain detection", "score", review.min_score, ""),
        ("blurred or blank", "sharpness_after", review.min_sharpness, ""),
    )
    above = (
        ("colours shifted", "delta_e", review.max_delta_e, " CIEDE2000"),
        ("possibly no face", "landmark_error", review.max_landmark_error, " eye distances"),
    )
    checks = [(*check, "below", -1) for check in below] + [(*check, "above", 1) for check in above]
    return [
        f"{words}: {name} {face[name]:.2f}{unit} is {side} {limit:g}{unit}"
        for words, name, limit, unit, side, sign in checks
        if face.get(name) is not None and sign * face[name] > sign * limit
    ]
