"""The commands of the base install run without the packages of the extras; the others say which extra they need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jobs.extras import COMMANDS, MODULES, missing
from tests.support.archives import put, tar_bytes
from tests.support.review_run import write_run

BLOCKED = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))  # None there: as if it were not installed
from jobs.__main__ import main
main({words!r})
"""
# What a machine for GPU work has: the model can be measured there with the sources of this project and diffusers alone.
GPU_MACHINE = {"PIL", "cv2", "diffusers", "huggingface_hub", "safetensors", "torch", "torchvision", "transformers"}
EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def without(blocked: set[str], *words: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKED.format(blocked=blocked, words=list(words))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "status OUTPUT",
        "doctor",
        "query OUTPUT --summary",
        "query OUTPUT --describe",
        "report OUTPUT --pictures none",
        "verify OUTPUT",
        "manifest compact OUTPUT",
        "index TAR --output NEW",
    ],
)
def test_the_base_install_needs_no_extra(command: str, output: str, tmp_path: Path) -> None:
    tar = put(str(tmp_path), "a.tar", tar_bytes({"notes.txt": b"a text"}))
    for name, value in {"OUTPUT": output, "TAR": tar, "NEW": str(tmp_path / "new")}.items():
        command = command.replace(name, value)
    done = without(MODULES, *command.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("restore a.tar --output NEW", "restore"),
        ("demo", "restore"),
        ("weights pull NEW", "restore"),
        ("evaluate --help", "metrics"),
        ("train --help", "train"),
        ("submit list", "cluster"),
        ("report OUTPUT", "pictures"),
    ],
)
def test_another_command_says_which_extra_it_needs(command: str, extra: str, output: str, tmp_path: Path) -> None:
    words = command.replace("OUTPUT", output).replace("NEW", str(tmp_path / "new")).split()
    done = without(MODULES, *words)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"interlcm: {words[0]} needs ")
    assert line.endswith(f"pip install 'interlcm[{extra}]'")


def test_the_model_is_measured_with_little_beside_pytorch(tmp_path: Path) -> None:
    """Every way to restore gives the plain loop's result, up to rounding in float32 and to 45 dB in bfloat16."""
    to = tmp_path / "figures.json"
    words = ["--size", "tiny", "--device", "cpu", "--faces", "1", "--batch-faces", "1", "--dtypes", "bfloat16"]
    absent = (MODULES - GPU_MACHINE) | {"duckdb", "s3fs", "psutil"}
    done = without(absent, "benchmark", "model", *words, "--to", str(to))
    assert done.returncode == 0, done.stderr
    tables = json.loads(to.read_text())["tables"]
    loop, *others = tables["Speed"]
    assert loop["x plain"] == 1 and loop["PSNR dB"] is None
    assert [row["PSNR dB"] > 100 for row in others] == [True, True, False]
    assert others[-1]["PSNR dB"] > 45 and "bfloat16" in others[-1]["model"]
    assert [row["layout"] for row in tables["Sweep"]] == ["channels last", "channels first"]
    assert all(row["PSNR dB"] > 45 and row["note"] == "" for row in tables["Sweep"])
    for actor, overlap in zip(tables["Actor"], ("yes", "no"), strict=True):
        assert (actor["judged by"], actor["faces"], actor["failed photos"]) == ("no judge", 1, 0)
        assert (actor["overlap"], actor["compiled"]) == (overlap, "no")


def test_a_photo_is_restored_without_ray(tmp_path: Path) -> None:
    done = without({"ray"}, "demo", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "engine: this process" in done.stdout


def test_ray_is_asked_for_by_who_wants_it(tmp_path: Path) -> None:
    tar = put(str(tmp_path), "a.tar", tar_bytes({"notes.txt": b"a text"}))
    done = without({"ray"}, "restore", tar, "--output", str(tmp_path / "new"), "--engine", "ray")
    assert done.stderr.splitlines()[-1].endswith("pip install 'interlcm[cluster]'")


def test_a_module_of_no_extra_is_a_bug() -> None:
    assert missing(ModuleNotFoundError("No module named 'pipeline.nowhere'", name="pipeline.nowhere"), "status") is None


def test_every_extra_that_a_line_names_is_there() -> None:
    assert {*COMMANDS.values(), "restore", "cluster"} <= set(EXTRAS)


def test_the_tests_install_every_extra_but_those_of_other_licences_and_clouds() -> None:
    def chosen(extra: str) -> set[str]:
        inner = [re.fullmatch(r"interlcm\[(.+)\]", line) for line in EXTRAS[extra]]
        return {extra}.union(*(chosen(name) for found in inner if found for name in found[1].split(",")))

    assert chosen("test") == set(EXTRAS) - {"musiq", "gs", "azure"}
