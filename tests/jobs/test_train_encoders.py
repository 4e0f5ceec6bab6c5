"""`interlcm train` with a preset for the encoders: one line for an error, and continuing after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.__main__ import main
from jobs.train import PRESETS
from pipeline.training import files as training_files
from tests.support.training_runs import PRESET, curve, faces_tar


def preset(folder: Path, **changed: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**PRESET, **changed}))
    return str(path)


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    return int(caught.value.code or 0), error


def test_what_is_typed_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = one_line(capsys, "faces.tar", "--preset", "4step")
    assert code == 2 and "no preset '4step'; choose one of 1step, 3step, colorization_1step, demo" in error
    code, error = one_line(capsys, "faces.tar", "--preset", "demo")
    assert code == 2 and "leave out faces.tar" in error
    code, error = one_line(capsys, "faces.tar", "--preset", preset(tmp_path, recipe={"batch": 3}), "--workers", "2")
    assert code == 1 and "batch 3 cannot be shared among 2 workers" in error
    code, error = one_line(capsys, "faces.tar", "--preset", preset(tmp_path, task="sing"))
    assert code == 1 and "task is 'sing'; choose" in error


def test_every_preset_is_in_the_help() -> None:
    text = (PRESETS.parent / "train.py").read_text()
    assert all(path.stem in text for path in PRESETS.glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_and_started_again_gives_the_same_curve(tiny_weights: str, tmp_path: Path) -> None:
    source = faces_tar(tmp_path / "faces.tar")
    recipe = {**PRESET["recipe"], "iterations": 16, "batch": 2, "adversarial_from": 10}
    settings = preset(tmp_path, recipe=recipe, samples_every=8)

    def command(output: Path) -> list[str]:
        words = [source, "--preset", settings, "--output", str(output), "--weights", tiny_weights]
        return [sys.executable, "-m", "jobs", "train", *words]

    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    through, killed = tmp_path / "through", tmp_path / "killed"
    subprocess.run(command(through), check=True, env=environment)
    with subprocess.Popen(command(killed), env=environment) as process:
        while len(training_files.checkpoints(str(killed))) < 2:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    stopped_at = training_files.checkpoints(str(killed))[-1]
    assert stopped_at < 16
    subprocess.run(command(killed), check=True, env=environment)
    assert curve(killed) == curve(through) and len(curve(through)) == 16


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_held_out_psnr_rises_with_the_small_preset(tmp_path: Path) -> None:
    source = faces_tar(tmp_path / "faces.tar", count=16, side=200)
    words = [source, "--preset", "small", "--output", str(tmp_path / "out")]
    subprocess.run([sys.executable, "-m", "jobs", "train", *words], check=True)
    psnr = curve(tmp_path / "out", "held_out/psnr")
    assert list(psnr) == [0, 20, 40, 60, 80, 100]
    assert psnr[100] > psnr[0] + 3 and psnr[100] > psnr[40] > psnr[0]
