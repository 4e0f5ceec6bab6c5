"""The commands of docs/curator.md do what the page shows, in order, on a small finished run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.__main__ import main
from tests.reference import ROOT
from tests.support.console import masked, typed
from tests.support.decided_run import WHOLE, write_decided_run

COMMANDS = list(typed(ROOT / "docs" / "curator.md"))


def test_the_story_goes_from_a_run_to_a_bag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(write_decided_run(tmp_path, WHOLE)).rename(tmp_path / "restored")
    monkeypatch.chdir(tmp_path)
    for command, shown in COMMANDS:
        program, *words = shlex.split(command)
        if program == "interlcm":
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert not ended.value.code, command
        else:
            done = subprocess.run([sys.executable, Path(sys.executable).with_name(program), *words], check=True)
            assert done.returncode == 0
        said = capsys.readouterr()
        assert (masked(said.out), said.err) == (masked(shown), ""), command
    assert len(COMMANDS) == 9
    record = Path("scans-bag", "data", "premis", "scans.tar-00001.xml").read_text()
    assert record.count("<premis:agentName>Anna<") == 1 and record.count(">status: withdrawn<") == 1
    assert record.count("<premis:eventDateTime>2026-01-01T00:0") == 5  # of the results, not of the rows that followed
