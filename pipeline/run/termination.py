"""SIGTERM, which a machine gets before it goes: commit what is done, give the rest back, and end in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds from the signal. Kubernetes and spot notices leave 30 and more.
GRACE = 20.0  # for what is in flight to be done
END = 28.0  # for all, Ray's own end included: a second or two, ten on a machine with no time to spare


class TerminatedError(Exception):
    """A run that SIGTERM stopped: one line that says how to go on."""


@contextmanager
def heeded(tell: Callable[[], object], output: str) -> Iterator[threading.Event]:
    """While this lasts SIGTERM calls `tell` once, in a thread of its own, and sets the event.

    What then takes longer than GRACE ends with TerminatedError, and after END the process ends with 1, wherever it is:
    what is committed stays so. Outside of the main thread, where Python takes no signals, SIGTERM keeps its meaning.
    """
    received, woken = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def wait_and_tell() -> None:
        woken.wait()
        if received.is_set():
            tell()
            time.sleep(END)
            os._exit(1)

    def terminate(number: int, frame: FrameType | None) -> None:
        if not received.is_set():
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        received.set()
        woken.set()

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TerminatedError(f"{output}: stopped; start the same command again")

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, terminate)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    threading.Thread(target=wait_and_tell, name="termination", daemon=True).start()
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        woken.set()  # ends the thread
