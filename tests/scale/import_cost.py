"""CPU seconds that each command and each worker takes before its work begins: python -m tests.scale.import_cost [TIMES]

Prints the least of TIMES starts (3), also as a multiple of importing the libraries that a query needs. To compare two
checkouts, run it in each with PYTHONPATH.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.support.processes import PROCESSES, program

LIBRARIES = "import duckdb, pyarrow.parquet, pyarrow.dataset, fsspec, typer"


def cpu_seconds(code: str, times: int) -> float:
    """User and system time of a Python process that runs this, the least of several starts."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def main(times: int = 3) -> None:
    unit = cpu_seconds(LIBRARIES, times)
    print(f"{'the libraries of a query':48} {unit:6.2f} s")
    for name, (first, _) in PROCESSES.items():
        seconds = cpu_seconds(program(first), times)
        print(f"{name:48} {seconds:6.2f} s {seconds / unit:6.2f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
