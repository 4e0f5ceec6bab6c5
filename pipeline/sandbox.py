"""Functions on untrusted bytes in a process of their own: a codec that crashes, hangs or eats memory costs one photo.

Every worker process has one child, which serves one call after the other and is started again when it died. It keeps
crashes, time and memory away from the worker; it is no jail for a codec that runs an attacker's code.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TypeVar, cast

from pipeline import message
from pipeline.limits import Limits
from pipeline.photo_error import PhotoError

Result = TypeVar("Result")

_CREDENTIALS = ("AWS_", "GOOGLE_", "AZURE_", "INTERLCM_", "RAY_AUTH")
# One thread: a node runs one worker for each core already. And every thread's stack and heap would count against
# the limit of address space, so that a machine of many cores had none left for the photo.
_SINGLE = dict.fromkeys(
    ("VIPS_CONCURRENCY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "MALLOC_ARENA_MAX"), "1"
)
_STDERR_BYTES = 64 << 20  # what a decoder's complaints may fill
_PIPE_BYTES = 256 << 10  # 4 times the usual: half the time for 50 MB, because the two processes take turns less often
# What C and C++ libraries write before they give up because memory ran out.
_OUT_OF_MEMORY = (b"bad_alloc", b"allocate", b"out of memory", b"cannot map")


class _DiedError(Exception):
    """The child is gone before it answered."""


class _Child:
    """The child of this process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Closed with the child.
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.sandbox"],
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
_child: _Child | None = None


def run(function: Callable[..., Result], *args: Any, limits: Limits) -> Result:
    """`function(*args)` in the child; what it raises is raised here.

    The function is found in the child by its module and name. Arguments and result travel as pickles; large bytes and
    arrays are neither pickled nor copied on their way into the pipe, and arrays arrive writable.

    Raises PhotoError of too_slow after `limits.seconds`, out_of_memory beyond `limits.memory_bytes` of address space,
    and decoder_crashed for any other death of the child.
    """
    global _child
    with _lock:
        if _child is None or _child.owner != os.getpid():
            _child = _Child()
        child = _child
        try:
            good, outcome = child.call(function, args, limits)
        except _DiedError:
            _child = None
            raise _death(child.stop(), child.last_words(), limits) from None
        except BaseException:  # a call that was given up: its answer must not be taken for that of the next
            _child = None
            child.process.kill()
            child.stop()
            raise
    if not good:
        raise outcome
    return cast(Result, outcome)


def stop() -> None:
    """End the child, if there is one; the next call starts another."""
    global _child
    with _lock:
        child, _child = _child, None
    if child is not None and child.owner == os.getpid():
        child.stop()


def _environment() -> dict[str, str]:
    """This process's, without the keys to storage; modules are found where this process finds them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_CREDENTIALS)}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | _SINGLE | {"PYTHONPATH": path}


def _death(status: int, complaints: bytes, limits: Limits) -> PhotoError:
    if status == -signal.SIGALRM:
        return PhotoError("too_slow", f"took longer than {limits.seconds} s and was stopped")
    # SIGKILL is how the kernel ends a process when the machine's memory is used up.
    if status == -signal.SIGKILL or any(words in complaints for words in _OUT_OF_MEMORY):
        return _out_of_memory(limits.memory_bytes)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return PhotoError("decoder_crashed", f"the decoder crashed ({how}): the file is damaged, or made to do this")


def _out_of_memory(memory_bytes: int) -> PhotoError:
    return PhotoError("out_of_memory", f"needs more than the limit of {memory_bytes >> 20} MiB of memory")


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """The child's work, until the worker closes the pipe or is gone."""
    while True:
        try:
            seconds, memory_bytes, function, args = message.receive(requests)
        except EOFError:
            return
        except Exception as error:  # the function's module cannot be imported here
            message.send(replies, (False, _portable(error)))
            continue
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        reply = _answer(function, args, seconds, memory_bytes)
        try:
            message.send(replies, reply)
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # before anything is written
            message.send(replies, (False, _portable(error)))
        del function, args, reply  # nothing of a photo stays while the child waits for the next


def _answer(function: Callable[..., Any], args: tuple[Any, ...], seconds: int, memory_bytes: int) -> tuple[bool, Any]:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM's default action ends the process, in a codec too
    try:
        return True, function(*args)
    except MemoryError:
        return False, _out_of_memory(memory_bytes)
    except Exception as error:
        return False, _portable(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _portable(error: Exception) -> Exception:
    """The exception, or one of the same words where it does not survive pickling."""
    name = type(error).__name__
    try:
        again = message.copied(error)
    except Exception:
        return PhotoError(name, f"{name}: {error}")
    return error if str(again) == str(error) else PhotoError(name, f"{name}: {error}")


def _main() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's business
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_STDERR_BYTES, _STDERR_BYTES))
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    try:
        _serve(requests, replies)
    except BrokenPipeError:
        os._exit(0)  # the worker died while the answer was on its way


atexit.register(stop)

if __name__ == "__main__":
    _main()
