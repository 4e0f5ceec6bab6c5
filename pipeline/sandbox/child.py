"""The child process of the sandbox: reads a call, executes it, and answers."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable
from typing import IO, Any

from pipeline.photos.errors import PhotoError, out_of_memory
from pipeline.sandbox import message

_STDERR_BYTES = 64 << 20  # most bytes of a decoder's messages


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer calls until the worker closes the pipe or dies."""
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
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # raised before anything is written
            message.send(replies, (False, _portable(error)))
        del function, args, reply  # keep no photo in memory while waiting for the next call


def _answer(function: Callable[..., Any], args: tuple[Any, ...], seconds: int, memory_bytes: int) -> tuple[bool, Any]:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM's default action ends the process, even inside a codec
    try:
        return True, function(*args)
    except MemoryError:
        return False, out_of_memory(memory_bytes)
    except Exception as error:
        return False, _portable(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _portable(error: Exception) -> Exception:
    """The exception, or a PhotoError with its text if it does not survive pickling."""
    name = type(error).__name__
    try:
        again = message.copied(error)
    except Exception:
        return PhotoError(name, f"{name}: {error}")
    return error if str(again) == str(error) else PhotoError(name, f"{name}: {error}")


def main() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker handles Ctrl-C
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_STDERR_BYTES, _STDERR_BYTES))
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a library's output must not get between the answers
    try:
        _serve(requests, replies)
    except BrokenPipeError:
        os._exit(0)  # the worker died before it read the answer


if __name__ == "__main__":
    main()
