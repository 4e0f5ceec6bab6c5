"""Ways in which a decoder can harm its process, as functions that the sandbox's child can import."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def same(*values: Any) -> Any:
    return values


def process_id() -> int:
    return os.getpid()


def peak_memory() -> int:
    """Peak resident bytes of this process; getrusage would include the parent's memory at the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


def environment() -> dict[str, str]:
    return dict(os.environ)


def loaded_modules() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def fill(array: npt.NDArray[Any], value: int) -> npt.NDArray[Any]:
    """Writes into its argument."""
    array[:] = value
    return array


def segfault() -> None:
    ctypes.string_at(0)


def abort(words: str) -> None:
    """End like a C++ library that catches no exception."""
    os.write(2, words.encode())
    os.abort()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def spin() -> None:
    while True:
        pass


def spin_in_c() -> None:
    """Never return to Python, so that a signal handler in Python could not stop it."""
    ctypes.CDLL(None).select(0, None, None, None, None)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def allocate(size: int) -> int:
    return len(np.ones(size, np.uint8))


def chatter() -> str:
    """Print to both outputs, like a noisy library."""
    os.write(1, b"to stdout\n")
    os.write(2, b"to stderr\n")
    return "answer"


class OddError(Exception):
    """An error that does not survive pickling: its arguments are not those of its constructor."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} of {two}")


def fail(kind: str) -> None:
    if kind == "value":
        raise ValueError("a bad value")
    if kind == "zlib":
        zlib.decompress(b"none")
    raise OddError(1, 2)


def unpicklable() -> Any:
    return lambda: None
