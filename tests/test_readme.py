"""The README's commands do what it shows: each `console` block runs, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.reference import ROOT

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
# First line of each block that is not run -> why.
NOT_RUN = {
    "make install": "sets up the environment that these tests run in",
    "export AWS_ENDPOINT_URL": "needs a bucket and a Ray cluster; tests/pipeline/run/test_run.py has both",
    "interlcm weights pull": "downloads gigabytes; tests/pipeline/weights/test_pull.py has a server of its own",
    "OUTPUT/": "a picture of folders",
}
INTERLCM = Path(sys.executable).with_name("interlcm")


def typed() -> Iterator[tuple[str, str]]:
    """Each command in the README, and the output that it shows."""
    for language, text in BLOCKS:
        if language == "console":
            for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, shown = command.partition("\n")
                yield line, shown


COMMANDS = list(typed())


def test_every_block_is_run_or_says_why_not() -> None:
    others = [text for language, text in BLOCKS if language != "console"]
    for text in others:
        assert any(text.startswith(start) for start in NOT_RUN), text
    for start in NOT_RUN:
        assert any(text.startswith(start) for text in others), start
    assert len(COMMANDS) == 4


Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Run all commands, one after the other."""
    folder = tmp_path_factory.mktemp("readme")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}

    def run(command: str) -> Done:
        words = [str(INTERLCM), *command.split()[1:]]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)

    return {command: run(command) for command, _ in COMMANDS}


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_prints_what_the_readme_shows(command: str, shown: str, done: dict[str, Done]) -> None:
    assert command.startswith("interlcm ")
    assert (done[command].returncode, done[command].stderr) == (0, "")
    assert masked(done[command].stdout) == masked(shown)


def masked(text: str) -> list[str]:
    """The shape of an output: without paths, digests, figures, times, widths of columns, repeated lines of progress.

    On a busy machine there are more lines of progress, some with one face, some with the time that is left.
    """
    text = re.sub(r", about .+ left$", "", text, flags=re.MULTILINE)
    text = re.sub(r"; Ray from \d+", "", text)  # on a machine with more cores
    text = re.sub(r"\b(face|photo)\b", r"\1s", text)
    lines = [re.sub(r"(?<!\S)/\S+", "/path", line) for line in text.splitlines()]
    lines = [re.sub(r"\b[0-9a-f]{12}\b", "digest", line) for line in lines]
    lines = [re.sub(r"[\d.,:]*\d|NULL", "#", line) for line in lines]
    lines = [re.sub(r"[─┬┴┼]+", "─", re.sub(r" +", " ", line)).strip() for line in lines]
    return [line for line, _ in groupby(lines)]
