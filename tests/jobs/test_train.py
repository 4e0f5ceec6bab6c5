"""`interlcm train` with the demo preset made tiny: real stages of two steps each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from interlcm import InterLCM
from interlcm.weights_index import digest, read_index, verify
from jobs.train import PRESETS
from tests.support.command import interlcm

STAGES = ["vae", "prior", "encoders"]
SIZE = 32  # px


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: crops this small gain nothing from a second one, and on a busy machine each step waits for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_preset(folder: Path, **changes: Any) -> str:
    preset = yaml.safe_load((PRESETS / "demo.yaml").read_text())
    preset |= {"image_size": SIZE, "origin": "a test"} | changes
    for stage in preset["stages"].values():
        stage |= {"steps": 2, "batch": 2, "size": SIZE}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(preset))
    return str(path)


def trained(output: str) -> list[str]:
    """The stages that report a loss."""
    return list(dict.fromkeys(line.split()[0] for line in output.splitlines() if " loss " in line))


def test_weights_are_trained_stage_by_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "weights"
    command = ["train", "--preset", tiny_preset(tmp_path), "--output", str(folder)]
    assert interlcm(*command) == 0
    printed = capsys.readouterr().out
    assert trained(printed) == STAGES
    assert f"--weights {folder}" in printed.splitlines()[-1]

    index = read_index(folder)
    assert (index["image_size"], set(index["variants"])) == (SIZE, {"3step"})
    assert verify(folder) == []
    assert {part["origin"] for part in index["parts"]} == {"a test"}
    first = digest(folder, "3step")
    lq = torch.zeros(1, 3, SIZE, SIZE)
    restored = InterLCM.from_pretrained(folder).restore(lq)
    assert restored.shape == lq.shape and bool(restored.isfinite().all())

    assert interlcm(*command) == 0  # all stages are done: the command only writes the folder again
    assert trained(capsys.readouterr().out) == []
    assert digest(folder, "3step") == first

    (folder / "stages" / "encoders.pt").unlink()  # as after a stop in the last stage
    assert interlcm(*command) == 0
    assert trained(capsys.readouterr().out) == ["encoders"]
    assert verify(folder) == []
    assert InterLCM.from_pretrained(folder).restore(lq).shape == lq.shape


def test_an_unknown_preset_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("train", "--preset", "published", "--output", str(tmp_path / "weights")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no preset 'published'; choose one of" in line and "demo, " in line and "or name a YAML file" in line
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1, 2", "not YAML"), ("just words", "needs variant, image_size"), ("variant: 3step", "needs image_size")],
)
def test_a_file_that_is_no_preset_is_one_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    command = ["train", "--preset", str(tmp_path / "broken.yaml"), "--output", str(tmp_path / "weights")]
    assert interlcm(*command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "broken.yaml" in line and words in line


def test_stages_of_another_preset_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "weights"
    assert interlcm("train", "--preset", tiny_preset(tmp_path), "--output", str(folder)) == 0
    assert interlcm("train", "--preset", tiny_preset(tmp_path, seed=1), "--output", str(folder)) == 2
    assert "was made with other settings" in capsys.readouterr().err
