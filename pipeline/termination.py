"""SIGTERM, which a machine gets before it goes: commit what is done, give the rest back, and end in time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 25.0  # seconds from the signal to the end; Kubernetes and spot notices leave 30 and more


class TerminatedError(Exception):
    """A run that SIGTERM stopped: one line that says how to go on."""


@contextmanager
def heeded(tell: Callable[[], object], output: str) -> Iterator[threading.Event]:
    """While this lasts SIGTERM calls `tell` once, in a thread of its own, and sets the event.

    What then takes longer than GRACE ends with TerminatedError. Outside of the main thread, where Python takes no
    signals, SIGTERM keeps its meaning.
    """
    received, woken = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def wait_and_tell() -> None:
        woken.wait()
        if received.is_set():
            tell()

    def terminate(number: int, frame: FrameType | None) -> None:
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
