"""Handle SIGTERM, which comes before a machine disappears: commit finished work, keep the rest pending, end in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from interlcm.errors import InterLCMError

# Seconds from the signal. Kubernetes and spot instances leave at least 30.
GRACE = 20.0  # for photos in progress
END = 28.0  # for everything, including Ray's shutdown, which takes a second or two, ten on a busy machine


class TerminatedError(InterLCMError):
    """SIGTERM stopped the run: one line that says how to continue."""


@contextmanager
def heeded(tell: Callable[[], object], output: str) -> Iterator[threading.Event]:
    """Inside this block, SIGTERM sets the event and calls `tell` once, in a thread of its own.

    After GRACE seconds the block ends with TerminatedError. After END seconds the process ends with exit code 1,
    whatever it is doing; committed work stays committed. Outside the main thread, where Python handles no signals,
    SIGTERM keeps its meaning. This uses no timer and no other signal: SIGALRM belongs to others, such as
    pytest-timeout.
    """
    received, woken, late, over = (threading.Event() for _ in range(4))
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    main = threading.get_ident()
    ending = threading.Lock()  # prevents a signal to the main thread after SIGTERM has its old meaning again

    def wait_and_tell() -> None:
        woken.wait()
        if not received.is_set():
            return
        tell()
        time.sleep(GRACE)
        with ending:
            if not over.is_set():
                late.set()
                signal.pthread_kill(main, signal.SIGTERM)  # a real signal: it wakes a thread that waits in C
        time.sleep(END - GRACE)
        os._exit(1)

    def terminate(number: int, frame: FrameType | None) -> None:
        received.set()
        woken.set()
        if late.is_set() and not over.is_set():
            raise TerminatedError(f"{output}: stopped; start the same command again")

    before = signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=wait_and_tell, name="termination", daemon=True).start()
    try:
        yield received
    finally:
        with ending:
            over.set()
        signal.signal(signal.SIGTERM, before)
        woken.set()  # ends the thread
