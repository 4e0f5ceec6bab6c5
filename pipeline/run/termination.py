"""SIGTERM, which a machine gets before it goes: commit what is done, give the rest back, and end in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from interlcm.errors import InterLCMError

# Seconds from the signal. Kubernetes and spot notices leave 30 and more.
GRACE = 20.0  # for photos in progress
END = 28.0  # for everything, including Ray's own shutdown: a second or two, ten on a busy machine


class TerminatedError(InterLCMError):
    """SIGTERM stopped the run: one line that says how to go on."""


@contextmanager
def heeded(tell: Callable[[], object], output: str) -> Iterator[threading.Event]:
    """Inside this block SIGTERM calls `tell` once, in a thread of its own, and sets the event.

    After GRACE seconds the block ends with TerminatedError, and after END seconds the process ends with exit code 1,
    wherever it is: what is committed stays so. Outside of the main thread, where Python takes no signals, SIGTERM keeps
    its meaning. No timer and no signal but SIGTERM is used: SIGALRM belongs to others, pytest-timeout for one.
    """
    received, woken, late, over = (threading.Event() for _ in range(4))
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    main = threading.get_ident()
    ending = threading.Lock()  # no signal to this thread once SIGTERM has its old meaning again

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
