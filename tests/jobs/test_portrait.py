"""The built-in demo weights do what the README says about them."""

from __future__ import annotations

import pytest

from interlcm import InterLCM
from interlcm.weights_index import DEMO_WEIGHTS, read_index, verify
from jobs.portrait import measure


@pytest.fixture(scope="module")
def model() -> InterLCM:
    return InterLCM.from_pretrained(DEMO_WEIGHTS)


def test_the_demo_weights_are_listed_and_small() -> None:
    assert verify(DEMO_WEIGHTS) == []
    index = read_index(DEMO_WEIGHTS)
    assert index["image_size"] == 256
    assert {part["licence"] for part in index["parts"]} == {"Apache-2.0"}
    assert sum(part["bytes"] for part in index["parts"]) < 10e6


@pytest.mark.parametrize(
    ("noise", "gain"),
    [
        ((15.0, 25.0), 1.5),
        pytest.param((15.0, 15.0), 1.0, marks=pytest.mark.slow),
        pytest.param((25.0, 25.0), 2.0, marks=pytest.mark.slow),
    ],
)
def test_they_take_grain_away_from_a_portrait_they_never_saw(
    model: InterLCM, noise: tuple[float, float], gain: float
) -> None:
    result = measure(model, noise)
    assert result.crops == 10
    assert result.gain >= gain
    assert result.psnr_restored > result.psnr_nlm
    assert result.ssim_restored > result.ssim_lq
    assert result.delta_e_grainless < result.delta_e
    assert result.cast < 1  # about what is just visible
