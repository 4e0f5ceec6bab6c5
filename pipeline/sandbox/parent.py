"""Run functions on untrusted bytes in a child process: a codec that crashes, hangs or exhausts memory costs one photo.

A process has one child for each thread that calls at the same time; a Ray worker has one. A child serves one call after
the other; a new child replaces a dead one. It protects the worker from crashes, endless work and memory exhaustion, but
it is not a jail for a codec that runs an attacker's code.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TypeVar, cast

from pipeline.config.limits import Limits
from pipeline.photos.errors import PhotoError, out_of_memory
from pipeline.sandbox import message

Result = TypeVar("Result")

# The variables that a decoder gets: paths of programs, libraries and temporary files, language and time zone. All
# others may hold a secret (AWS_*, FSSPEC_*, HF_TOKEN, ...).
_ALLOWED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "COVERAGE_PROCESS_START"),
)
# One thread, because a node already runs one worker per core. Also, each thread's stack and heap count against the
# limit on address space, so a machine with many cores would have none left for the photo.
_SINGLE = dict.fromkeys(
    ("VIPS_CONCURRENCY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "MALLOC_ARENA_MAX"), "1"
)
_PIPE_BYTES = 256 << 10  # 4 times the default; 50 MB take half the time, because the processes switch less often
# Words that C and C++ libraries write before they exit for lack of memory.
_OUT_OF_MEMORY = (b"bad_alloc", b"allocate", b"out of memory", b"cannot map")


class _DiedError(Exception):
    """The child died before it answered."""


class _Child:
    """A child of this process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Closed with the child.
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.sandbox.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            env=_environment(),
        )
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(PermissionError):  # the kernel refuses large pipes to a user with very many
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], limits: Limits) -> tuple[bool, Any]:
        """Whether the call succeeded, and its result or exception."""
        requests, replies = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        try:
            message.send(requests, (limits.seconds, limits.memory_bytes, function, args))
            return cast(tuple[bool, Any], message.receive(replies))
        except (EOFError, BrokenPipeError) as error:
            raise _DiedError from error

    def stop(self) -> int:
        """End the child if it still runs. Returns its exit status, or minus the number of the signal that killed it."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # a request was only partly written
                cast(IO[bytes], pipe).close()
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def last_words(self) -> bytes:
        self.complaints.seek(max(0, os.fstat(self.complaints.fileno()).st_size - 4096))
        return self.complaints.read()


_lock = threading.Lock()
_idle: list[_Child] = []


def run(function: Callable[..., Result], *args: Any, limits: Limits) -> Result:
    """Run `function(*args)` in a child; its exception is raised here.

    The child imports the function by its module and name. Arguments and result are sent as pickles; large bytes and
    arrays are written to the pipe without a copy, and arrays arrive writable.

    Raises PhotoError with too_slow after `limits.seconds`, out_of_memory beyond `limits.memory_bytes` of address space,
    and decoder_crashed for any other death of the child.
    """
    child = _taken()
    try:
        good, outcome = child.call(function, args, limits)
    except _DiedError:
        raise _death(child.stop(), child.last_words(), limits) from None
    except BaseException:  # the call was abandoned: the next call must not get its answer
        child.process.kill()
        child.stop()
        raise
    with _lock:
        _idle.append(child)
    if not good:
        raise outcome
    return cast(Result, outcome)


def _taken() -> _Child:
    """A child that no other thread uses: an idle one of this process, or a new one."""
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.owner == os.getpid():  # a forked process has a copy of its parent's list
                return child
    return _Child()


def stop() -> None:
    """End the idle children; the next call starts another."""
    with _lock:
        children = [child for child in _idle if child.owner == os.getpid()]
        _idle.clear()
    for child in children:
        child.stop()


def _environment() -> dict[str, str]:
    """The allowed part of this process's environment, with this process's path for modules."""
    kept = {name: value for name, value in os.environ.items() if name in _ALLOWED or name.startswith("LC_")}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | _SINGLE | {"PYTHONPATH": path}


def _death(status: int, complaints: bytes, limits: Limits) -> PhotoError:
    if status == -signal.SIGALRM:
        return PhotoError("too_slow", f"took longer than {limits.seconds} s and was stopped")
    # The kernel ends a process by SIGKILL when the machine runs out of memory.
    if status == -signal.SIGKILL or any(words in complaints for words in _OUT_OF_MEMORY):
        return out_of_memory(limits.memory_bytes)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return PhotoError("decoder_crashed", f"the decoder crashed ({how}): the file is damaged, or made to crash it")


atexit.register(stop)
