"""Each command and each worker imports only what its work needs, which saves every process seconds and megabytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import pytest

from tests.support.import_graph import MODULES, first_and_late, loaded_with
from tests.support.processes import HEAVY, PROCESSES, WORKERS, program


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
    """Kind of process -> all modules that were imported when it had done its first work."""
    found: dict[str, set[str]] = {}
    for chain in chains():
        lines = [f"{program(PROCESSES[process][0])}\nprint(*sys.modules)" for process in chain]
        done = subprocess.run([sys.executable, "-c", "\n".join(["import sys", *lines])], capture_output=True, text=True)
        assert done.returncode == 0, (chain, done.stderr)
        found |= {process: set(line.split()) for process, line in zip(chain, done.stdout.splitlines(), strict=True)}
    return found


def heavy(names: Iterable[str]) -> set[str]:
    """Those of HEAVY that come with these modules, as far as the code of the project says."""
    loaded = {name for one in names for name in loaded_with(one)}
    return {name for name in HEAVY if any(f"{one}.".startswith(f"{name}.") for one in loaded)}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_imports_what_it_needs(process: str, imported: dict[str, set[str]]) -> None:
    assert imported[process] & HEAVY == PROCESSES[process][1]


@pytest.mark.parametrize("module", WORKERS)
def test_a_worker_imports_what_it_needs(module: str) -> None:
    assert heavy([module]) == WORKERS[module]


def test_each_late_import_saves_a_process_something(imported: dict[str, set[str]]) -> None:
    """Each import inside a function would, at the top of its file, load a heavy package where it is not needed."""
    known = [(imported[process], own) for process, (_, own) in PROCESSES.items()]
    known += [(loaded_with(module), own) for module, own in WORKERS.items()]
    lates = [late for module in MODULES for late in first_and_late(module)[1]]
    assert len(lates) > 50
    needless = [one for one in lates if not any(one.module in found and heavy(one.names) - own for found, own in known)]
    assert not needless, "\n".join(map(str, needless))
