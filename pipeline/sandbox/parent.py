"""Functions on untrusted bytes in a process of their own: a codec that crashes, hangs or eats memory costs one photo.

A process has a child for each thread that calls at the same time: one in a worker of Ray. It serves one call after the
other, and another takes its place when it died. It keeps crashes, time and memory away from the worker; it is no jail
for a codec that runs an attacker's code.
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

# What a decoder may know of this process's environment: where programs, libraries and temporary files are, language and
# time zone. Everything else may hold a secret (AWS_*, FSSPEC_*, HF_TOKEN, ...).
_ALLOWED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "COVERAGE_PROCESS_START"),
)
# One thread: a node runs one worker for each core already. And every thread's stack and heap would count against
# the limit of address space, so that a machine of many cores had none left for the photo.
_SINGLE = dict.fromkeys(
    ("VIPS_CONCURRENCY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "MALLOC_ARENA_MAX"), "1"
)
_PIPE_BYTES = 256 << 10  # 4 times the usual: half the time for 50 MB, because the two processes take turns less often
# What C and C++ libraries write before they give up because memory ran out.
_OUT_OF_MEMORY = (b"bad_alloc", b"allocate", b"out of memory", b"cannot map")


class _DiedError(Exception):
    """The child is gone before it answered."""


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
            with suppress(PermissionError):  # a user of very many pipes gets no larger ones
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], limits: Limits) -> tuple[bool, Any]:
        """Whether it went well, and the result or the exception."""
        requests, replies = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        try:
            message.send(requests, (limits.seconds, limits.memory_bytes, function, args))
            return cast(tuple[bool, Any], message.receive(replies))
        except (EOFError, BrokenPipeError) as error:
            raise _DiedError from error

    def stop(self) -> int:
        """End it, unless it ended itself. Gives the exit status: minus the signal that killed it."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # a request that was half on its way
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
    """`function(*args)` in a child; what it raises is raised here.

    The function is found in the child by its module and name. Arguments and result travel as pickles; large bytes and
    arrays are neither pickled nor copied on their way into the pipe, and arrays arrive writable.

    Raises PhotoError of too_slow after `limits.seconds`, out_of_memory beyond `limits.memory_bytes` of address space,
    and decoder_crashed for any other death of the child.
    """
    child = _taken()
    try:
        good, outcome = child.call(function, args, limits)
    except _DiedError:
        raise _death(child.stop(), child.last_words(), limits) from None
    except BaseException:  # a call that was given up: its answer must not be taken for that of the next
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
            if child.owner == os.getpid():  # a fork has a copy of its parent's list
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
    """What is allowed of this process's; modules are found where this process finds them."""
    kept = {name: value for name, value in os.environ.items() if name in _ALLOWED or name.startswith("LC_")}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | _SINGLE | {"PYTHONPATH": path}


def _death(status: int, complaints: bytes, limits: Limits) -> PhotoError:
    if status == -signal.SIGALRM:
        return PhotoError("too_slow", f"took longer than {limits.seconds} s and was stopped")
    # SIGKILL is how the kernel ends a process when the machine's memory is used up.
    if status == -signal.SIGKILL or any(words in complaints for words in _OUT_OF_MEMORY):
        return out_of_memory(limits.memory_bytes)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return PhotoError("decoder_crashed", f"the decoder crashed ({how}): the file is damaged, or made to do this")


atexit.register(stop)
