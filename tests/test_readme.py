"""The README's commands do what it shows: each `console` block runs, in order, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reference import ROOT
from tests.support.console import blocks, masked, typed

README = ROOT / "README.md"
# First line of each block that is not run -> why.
NOT_RUN = {
    "make install": "sets up the environment that these tests run in",
    "export AWS_ENDPOINT_URL": "needs a bucket and a Ray cluster; tests/pipeline/run/test_run.py has both",
    "interlcm weights pull": "downloads gigabytes; tests/pipeline/weights/test_pull.py has a server of its own",
    "OUTPUT/": "a picture of folders",
}
INTERLCM = Path(sys.executable).with_name("interlcm")


COMMANDS = list(typed(README))


def test_every_block_is_run_or_says_why_not() -> None:
    others = [text for language, text in blocks(README) if language != "console"]
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
