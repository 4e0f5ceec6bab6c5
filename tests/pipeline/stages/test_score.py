"""The measures of a face, and the words for each measure beyond its threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data

from pipeline.config.settings import Review
from pipeline.manifest.schema import FACE as FACE_COLUMNS
from pipeline.stages.row import Row
from pipeline.stages.score import review_reasons, score_face

FACE = skimage.data.astronaut()[60:188, 160:288]
FOUND: Row = {
    "score": 0.9,
    "eye_distance": 40.0,
    "identity_similarity": None,
    "quality_before": None,
    "quality_after": None,
    "face_share": None,
}
# A face within every threshold.
FINE: Row = {**FOUND, "psnr": 25.0, "delta_e": 5.0, "identity_similarity": 0.8, "sharpness_after": 90.0}


def score(aligned: np.ndarray, restored: np.ndarray, **found: Any) -> Row:
    return score_face(aligned, np.ascontiguousarray(restored), {**FOUND, **found}, Review())


def with_grain(sigma: float) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, sigma, FACE.shape)
    return (FACE + grain).clip(0, 255).round().astype(np.uint8)


def test_removing_strong_grain_needs_no_review() -> None:
    scored = score(with_grain(25), FACE)
    assert scored["needs_review"] is False and scored["review_reason"] is None
    assert scored["identity_similarity"] is None and scored["quality_before"] is None
    assert scored["sharpness_before"] > scored["sharpness_after"] > 0


def test_the_columns_are_those_of_the_manifest() -> None:
    columns = {field.name for field in FACE_COLUMNS}
    assert score(FACE, FACE).keys() == columns - {
        "face_index",
        "score",
        "box",
        "landmarks",
        "eye_distance",
        "landmark_error",
        "seed",
        "one_tone",
        "strength",
        "accepted",
    }


def test_an_unchanged_face_has_no_psnr() -> None:
    scored = score(FACE, FACE)
    assert scored["psnr"] is None and scored["ssim"] == 1.0 and scored["delta_e"] == 0
    assert scored["needs_review"] is False


def test_what_networks_measured_is_passed_on() -> None:
    scored = score(FACE, FACE, identity_similarity=0.75, quality_before=40.0, quality_after=60.0, face_share=0.9)
    assert (scored["identity_similarity"], scored["quality_before"], scored["quality_after"]) == (0.75, 40, 60)
    assert scored["face_share"] == 0.9
    assert scored["needs_review"] is False


def test_another_face_moved_colours_and_a_blank_one_need_review() -> None:
    assert score(FACE, FACE[::-1])["review_reason"].startswith("changed a lot: psnr")
    assert "colours shifted: delta_e" in score(FACE, FACE[..., ::-1])["review_reason"]
    assert "blurred or blank: sharpness_after 0.00 is below 5" in score(FACE, np.full_like(FACE, 128))["review_reason"]
    assert score(FACE, 255 - FACE)["needs_review"] is True


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("psnr", 17.46, "changed a lot: psnr 17.46 dB is below 18 dB"),
        ("delta_e", 18.5, "colours shifted: delta_e 18.50 CIEDE2000 is above 18 CIEDE2000"),
        ("identity_similarity", -0.1, "possibly another person: identity_similarity -0.10 is below 0.3"),
        ("eye_distance", 9.5, "small face: eye_distance 9.50 px is below 16 px"),
        ("landmark_error", 0.4, "possibly no face: landmark_error 0.40 eye distances is above 0.3 eye distances"),
        ("face_share", 0.31, "possibly no face: face_share 0.31 is below 0.4"),
        ("score", 0.5, "uncertain detection: score 0.50 is below 0.75"),
        ("sharpness_after", 4.9, "blurred or blank: sharpness_after 4.90 is below 5"),
    ],
)
def test_each_threshold_gives_its_reason(column: str, value: float, reason: str) -> None:
    assert review_reasons(FINE, Review()) == []
    assert review_reasons({**FINE, column: value}, Review()) == [reason]


def test_a_face_of_a_turned_photo_needs_review() -> None:
    assert score(FACE, FACE, rotation=0)["needs_review"] is False
    turned = score(FACE, FACE, rotation=90)
    assert turned["needs_review"] and turned["review_reason"] == "found in a turned photo: rotation 90 degrees"


def test_a_measure_on_its_threshold_or_without_a_value_says_nothing() -> None:
    at = {
        "psnr": 18,
        "delta_e": 18,
        "identity_similarity": 0.3,
        "eye_distance": 16,
        "score": 0.75,
        "face_share": 0.4,
        "sharpness_after": 5,
    }
    assert review_reasons({**FINE, **at}, Review()) == []
    assert review_reasons({**FINE, "psnr": None, "identity_similarity": None}, Review()) == []


def test_thresholds_are_settings_and_reasons_are_joined() -> None:
    strict = Review(min_eye_distance=50, min_score=0.95)
    assert len(review_reasons(FINE, strict)) == 2
    scored = score_face(FACE, FACE, FOUND, strict)
    assert scored["review_reason"] == (
        "small face: eye_distance 40.00 px is below 50 px; uncertain detection: score 0.90 is below 0.95"
    )
