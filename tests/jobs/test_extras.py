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
from pipeline.manifest.counts import counts
from tests.support.archives import put, tar_bytes
from tests.support.pictures import encoded, hopper
from tests.support.review_run import write_run

BLOCKED = """
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({blocked!r}))  # None there: as if it were not installed
from jobs.__main__ import main
for words in {commands!r}:
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, *(stream.buffer.getvalue().decode() for stream in (out, err))]))
"""
# What a machine for GPU work has: the model can be measured there with the sources of this project and diffusers alone.
GPU_MACHINE = {"PIL", "cv2", "diffusers", "huggingface_hub", "safetensors", "torch", "torchvision", "transformers"}
EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


Done = subprocess.CompletedProcess[str]


def without(blocked: set[str], *commands: list[str]) -> list[Done]:
    """What the commands say, one after the other in a new process without these modules."""
    code = BLOCKED.format(blocked=blocked, commands=commands)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    said = [json.loads(line) for line in process.stdout.splitlines()]
    return [Done(words, *one) for words, one in zip(commands, said, strict=True)]


BASE = [
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
]
NEEDED = {
    "restore a.tar --output NEW": "restore",
    "demo": "restore",
    "weights pull NEW": "restore",
    "evaluate --help": "metrics",
    "train --help": "train",
    "submit list": "cluster",
    "report OUTPUT": "pictures",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """All commands, in one process without the packages of the extras."""
    folder = tmp_path_factory.mktemp("run")
    tar = put(str(folder), "a.tar", tar_bytes({"notes.txt": b"a text"}))
    names = {"OUTPUT": write_run(folder), "TAR": tar, "NEW": str(folder / "new")}
    commands = [[names.get(word, word) for word in command.split()] for command in (*BASE, *NEEDED)]
    return dict(zip((*BASE, *NEEDED), without(MODULES, *commands), strict=True))


@pytest.mark.parametrize("command", BASE)
def test_the_base_install_needs_no_extra(command: str, done: dict[str, Done]) -> None:
    assert done[command].returncode == 0, done[command].stderr


@pytest.mark.parametrize(("command", "extra"), NEEDED.items())
def test_another_command_says_which_extra_it_needs(command: str, extra: str, done: dict[str, Done]) -> None:
    assert done[command].returncode == 1
    line = done[command].stderr.splitlines()[-1]
    assert line.startswith(f"interlcm: {command.split()[0]} needs ")
    assert line.endswith(f"pip install -c constraints.txt '.[{extra}]'")


def test_the_model_is_measured_with_little_beside_pytorch(tmp_path: Path) -> None:
    """Every way to restore gives the plain loop's result, up to rounding in float32 and to 45 dB in bfloat16."""
    to = tmp_path / "figures.json"
    words = ["--size", "tiny", "--device", "cpu", "--faces", "1", "--batch-faces", "1", "--dtypes", "bfloat16"]
    absent = (MODULES - GPU_MACHINE) | {"duckdb", "s3fs", "psutil"}
    (done,) = without(absent, ["benchmark", "model", *words, "--to", str(to)])
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


def test_a_photo_is_restored_without_ray_which_is_asked_for_by_who_wants_it(tmp_path: Path) -> None:
    tar = put(str(tmp_path), "a.tar", tar_bytes({"hopper.jpg": encoded(hopper())}))
    start = ["restore", tar, "--output", str(tmp_path / "new"), "--engine"]
    there, asked = without({"ray"}, [*start, "auto"], [*start, "ray"])
    assert there.returncode == 0, there.stderr
    assert "engine: this process" in there.stdout and counts(str(tmp_path / "new")).restored == 1
    assert asked.stderr.splitlines()[-1].endswith("pip install -c constraints.txt '.[cluster]'")


def test_a_module_of_no_extra_is_a_bug() -> None:
    assert missing(ModuleNotFoundError("No module named 'pipeline.nowhere'", name="pipeline.nowhere"), "status") is None


def test_every_extra_that_a_line_names_is_there() -> None:
    assert {*COMMANDS.values(), "restore", "cluster"} <= set(EXTRAS)


def test_the_tests_install_every_extra_but_those_of_other_licences_and_clouds() -> None:
    def chosen(extra: str) -> set[str]:
        inner = [re.fullmatch(r"interlcm\[(.+)\]", line) for line in EXTRAS[extra]]
        return {extra}.union(*(chosen(name) for found in inner if found for name in found[1].split(",")))

    assert chosen("test") == set(EXTRAS) - {"musiq", "gs", "azure"}
