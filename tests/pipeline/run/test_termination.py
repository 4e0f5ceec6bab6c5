"""SIGTERM: photos in progress have some seconds, and the process a few more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# GRACE is over before the work is done; END, where it matters, comes while something else still waits.
PROGRAM = """
import os, signal, threading, time
from pipeline.run import termination

termination.GRACE, termination.END = 0.2, {end}
told = threading.Event()
try:
    with termination.heeded(told.set, "out") as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.is_set() and told.wait(600)
        time.sleep({inside})
except termination.TerminatedError as error:
    print(error, flush=True)
print("left", flush=True)
time.sleep({after})
"""


@pytest.mark.parametrize(
    ("inside", "after", "end", "code", "printed"),
    [
        (0, 0, 600, 0, "left\n"),
        (600, 0, 600, 0, "out: stopped; start the same command again\nleft\n"),
        (600, 600, 2, 1, "out: stopped; start the same command again\nleft\n"),
        (0, 600, 2, 1, "left\n"),
    ],
)
def test_it_ends(inside: int, after: int, end: int, code: int, printed: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(inside=inside, after=after, end=end)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, cwd=Path.cwd())
    assert (done.returncode, done.stdout, done.stderr) == (code, printed, "")


ALARM = """
import signal, time
from pipeline.run import termination

signal.signal(signal.SIGALRM, lambda number, frame: print("alarm", flush=True))
signal.setitimer(signal.ITIMER_REAL, 1)
with termination.heeded(lambda: None, "out") as stopping:
    signal.sigtimedwait([], 3)
    print(stopping.is_set(), flush=True)
"""


def test_a_timer_of_somebody_else_stops_nothing() -> None:
    """SIGALRM belongs to others, such as pytest-timeout: a run once mistook it for its own deadline."""
    done = subprocess.run([sys.executable, "-c", ALARM], capture_output=True, text=True, timeout=200, cwd=Path.cwd())
    assert (done.returncode, done.stdout, done.stderr) == (0, "alarm\nFalse\n", "")
