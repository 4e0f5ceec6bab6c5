"""Each command and each worker imports only what its work needs, which saves every process seconds and megabytes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import HEAVY, PROCESSES, program


@pytest.mark.parametrize("process", PROCESSES)
def test_nothing_is_imported_that_is_not_needed(process: str) -> None:
    first, allowed = PROCESSES[process]
    code = f"{program(first)}\nimport sys\nprint(*sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - allowed == set()
