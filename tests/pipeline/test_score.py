import numpy as np
import skimage.data
import skimage.filters

from pipeline.score import score_face

FACE = skimage.data.astronaut()[60:188, 160:288]
# The columns of one face that come from comparing it with its input.
COLUMNS = {
    "psnr", "ssim", "identity_similarity", "quality_before", "quality_after",
    "sharpness_before", "sharpness_after", "delta_e", "needs_review", "review_reason",
}  # fmt: skip


def with_grain(sigma: float) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, sigma, FACE.shape)
    return (FACE + grain).clip(0, 255).round().astype(np.uint8)


def test_removing_strong_grain_needs_no_review() -> None:
    score = score_face(with_grain(25), FACE)
    assert score.keys() == COLUMNS
    assert score["needs_review"] is False and score["review_reason"] is None
    assert score["identity_similarity"] is None and score["quality_before"] is None
    before, after = score["sharpness_before"], score["sharpness_after"]
    assert isinstance(before, float) and isinstance(after, float) and before > after > 0


def test_an_unchanged_face_has_no_psnr() -> None:
    score = score_face(FACE, FACE)
    assert score["psnr"] is None and score["ssim"] == 1.0 and score["delta_e"] == 0
    assert score["needs_review"] is False


def test_another_face_needs_review() -> None:
    score = score_face(FACE, FACE[::-1].copy())
    assert score["needs_review"] is True
    assert str(score["review_reason"]).startswith("changed much: psnr")


def test_moved_colours_need_review_and_reasons_are_joined() -> None:
    score = score_face(FACE, FACE[..., ::-1].copy())
    assert score["needs_review"] is True
    assert "colours moved: delta_e" in str(score["review_reason"])
    assert str(score_face(FACE, 255 - FACE)["review_reason"]).count("; ") == 1
