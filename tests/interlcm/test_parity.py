"""Number for number: the whole restoration against outputs computed before, on seeded weights.

`python -m tests.interlcm.test_parity`, from the root of the project, rewrites the golden file. Do this only
when numbers are meant to change, because the current output becomes the reference.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interlcm import InterLCM
from interlcm.image_tokens import image_tokens
from tests.support.seeded import seeded_model

GOLDEN = Path(__file__).parent / "golden" / "small_128px.npz"
STRIDE = 7  # of the pixels kept in it: shares no factor with the VAE's blocks of 8
SETTINGS = ((2, "wavelet"), (3, "wavelet"), (4, "wavelet"), (2, "adain"), (2, "none"))  # steps, color fix
SEEDS = (3, 4)

# Outputs of the published implementation, if they are available beside the project.
PUBLISHED = Path(__file__).parents[3] / "shared" / "parity"
CASES = {
    "small_lq1_T4_seed0_wavelet": ("small", 4, 0, "wavelet"),
    "small_lq2_T2_seed7_adain": ("small", 2, 7, "adain"),
    "full_lq1_T4_seed0_wavelet": ("full", 4, 0, "wavelet"),
}
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published outputs are not in {PUBLISHED}")

LARGEST, MEAN = 2e-3, 1e-4  # absolute differences allowed in float32 on a CPU


@pytest.fixture(scope="module")
def model() -> InterLCM:
    return seeded_model("small")


def assert_same_numbers(ours: Tensor, reference: np.ndarray) -> None:
    assert ours.shape == reference.shape
    difference = np.abs(ours.numpy() - reference)
    assert difference.max() <= LARGEST and difference.mean() <= MEAN, (difference.max(), difference.mean())


def faces() -> Tensor:
    """Two made-up crops (2, 3, 128, 128): waves in colour with grain, and the same in grey."""
    y, x = np.mgrid[0:128, 0:128] / 128
    waves = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * x * y), np.sin(11 * y) * x])
    waves = 0.7 * waves + 0.1 * np.random.Generator(np.random.PCG64(5)).standard_normal((3, 128, 128))
    color = torch.from_numpy(waves).float().clamp(-1, 1)
    return torch.stack([color, color.mean(0, keepdim=True).expand(3, -1, -1)])


def golden_output(model: InterLCM, steps: int, color_fix: str) -> Tensor:
    return model.restore(faces(), steps, SEEDS, color_fix)[:, :, ::STRIDE, ::STRIDE]


def stages(model: InterLCM, lq: Tensor, steps: int, seed: int, color_fix: str) -> dict[str, Tensor]:
    """The contents of the golden files: a sample of the numbers after each stage of one restoration."""
    made: dict[str, Tensor] = {}

    def noted(stage: Any) -> Any:
        def call(*arguments: Any) -> Tensor:
            made[stage.__name__] = result = stage(*arguments)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        for stage in (model.prompt, model.encode, model.unroll, model.decode):
            patch.setattr(model, stage.__name__, noted(stage))
        restored = model.restore(lq, steps, [seed], color_fix)
        return {
            "clip_tokens": image_tokens(model.clip, lq)[:, ::14, ::16],
            "visual_embedding": made["prompt"][:, ::7, ::8],
            "lq_latent": made["encode"],
            "restored_latent": made["unroll"],
            "restored_raw": made["decode"][:, :, ::4, ::4],
            "restored": restored[:, :, ::4, ::4],
        }


def compare_with_published(model: InterLCM, case: str) -> None:
    _, steps, seed, color_fix = CASES[case]
    with np.load(PUBLISHED / f"{case}.npz") as file:
        reference = dict(file)
    lq = torch.from_numpy(reference.pop("lq")).permute(2, 0, 1)[None].float() / 127.5 - 1
    ours = stages(model, lq, steps, seed, color_fix)
    assert ours.keys() == reference.keys()
    for key in reference:
        assert_same_numbers(ours[key], reference[key])


@pytest.mark.parametrize(("steps", "color_fix"), SETTINGS)
def test_golden_outputs(model: InterLCM, steps: int, color_fix: str) -> None:
    with np.load(GOLDEN) as golden:
        assert_same_numbers(golden_output(model, steps, color_fix), golden[f"{steps}_{color_fix}"])


def test_golden_file_tells_settings_apart() -> None:
    """If two cases were equal within the tolerance, mixing them up would pass."""
    with np.load(GOLDEN) as golden:
        assert set(golden) == {f"{steps}_{color_fix}" for steps, color_fix in SETTINGS}
        colors = [output[0] for output in golden.values()]  # a grey face ends alike after any color fix
    for i, output in enumerate(colors):
        for other in colors[:i]:
            assert np.abs(output - other).mean() > 10 * MEAN


# Daily one of two: the other differs in steps and color fix, and the golden outputs have both of these.
@published
@pytest.mark.parametrize(
    "case", [pytest.param("small_lq1_T4_seed0_wavelet", marks=pytest.mark.slow), "small_lq2_T2_seed7_adain"]
)
def test_small_published_outputs(model: InterLCM, case: str) -> None:
    compare_with_published(model, case)


@published
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("full")])
def test_full_size_published_outputs(case: str) -> None:
    compare_with_published(seeded_model("full"), case)


def write_golden() -> None:
    model = seeded_model("small")
    outputs = {f"{steps}_{fix}": golden_output(model, steps, fix).numpy() for steps, fix in SETTINGS}
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, allow_pickle=False, **outputs)
    print(f"{GOLDEN}: {len(outputs)} outputs, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    write_golden()
