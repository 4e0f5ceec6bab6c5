"""Each command and each worker imports only what its work needs, which saves every process seconds and megabytes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import HEAVY, PROCESSES, program


def chains() -> list[list[str]]:
    """Kinds of processes in groups, where each may import all that those before it in its group may.

    Those of a group do their work one after the other in one process, which proves the same as a process for each.
    """
    made: list[list[str]] = []
    for process in sorted(PROCESSES, key=lambda process: len(PROCESSES[process][1])):
        before = [chain for chain in made if PROCESSES[chain[-1]][1] <= PROCESSES[process][1]]
        if not before:
            made.append([process])
        else:
            max(before, key=lambda chain: len(PROCESSES[chain[-1]][1])).append(process)
    return made


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Kind of process -> those of HEAVY that were imported when it had done its first work."""
    found: dict[str, set[str]] = {}
    for chain in chains():
        lines = [f"{program(PROCESSES[process][0])}\nprint(*set(sys.modules) & heavy)" for process in chain]
        code = "\n".join([f"import sys\nheavy = {HEAVY!r}", *lines])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, (chain, done.stderr)
        found |= {process: set(line.split()) for process, line in zip(chain, done.stdout.splitlines(), strict=True)}
    return found


@pytest.mark.parametrize("process", PROCESSES)
def test_nothing_is_imported_that_is_not_needed(process: str, imported: dict[str, set[str]]) -> None:
    assert imported[process] - PROCESSES[process][1] == set()
