"""The built-in demo weights do what the README says about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlcm import InterLCM
from interlcm.weights_index import DEMO_WEIGHTS, read_index, verify, write_index
from jobs import portrait
from jobs.__main__ import main
from jobs.portrait import measure
from tests.support import tiny


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


def test_other_weights_restore_it_with_their_own_variant_and_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portrait, "STRENGTHS", portrait.STRENGTHS[:1])  # one row of the table is enough
    folder = tmp_path / "weights"
    tiny.weights_folder(folder, "1step")
    index = read_index(folder)
    index["variants"]["1step"]["steps"] = [2, 3]
    write_index(folder, index)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--weights", str(folder), "--steps", "2"])
    out, err = capsys.readouterr()
    assert not ended.value.code
    assert len(out.splitlines()) == 3
    assert err.startswith("warning: --steps 2: the weights (1step) were trained for 3 steps;")
