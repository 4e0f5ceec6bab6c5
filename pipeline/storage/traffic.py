"""Counts of what this process has read from storage so far, and of its retries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

WARN_EVERY = 60.0  # seconds

_log = logging.getLogger("interlcm")


@dataclass
class Traffic:
    """Reads and their bytes, retries included."""

    requests: int = 0
    size: int = 0  # bytes
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, data: bytes) -> bytes:
        """Count one read; gives `data` back."""
        with self._lock:
            self.requests += 1
            self.size += len(data)
        return data


@dataclass
class Retries:
    """Requests that are repeated because storage could not be reached or asked for slower requests.

    last, at: about the latest one, and when it was; throttled_at: the latest one of the second kind. tell: is called
    with the words and whether the server asked for slower requests, if set.
    """

    count: int = 0
    last: str = ""
    at: float | None = None  # of time.monotonic
    throttled_at: float | None = None
    tell: Callable[[str, bool], None] | None = None
    _warned: float | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # clients repeat in a thread of theirs

    @property
    def ago(self) -> float | None:
        """Seconds since the latest one; None if there was none."""
        return _since(self.at)

    @property
    def throttled_ago(self) -> float | None:
        """Seconds since the server last asked for slower requests; None if it never did."""
        return _since(self.throttled_at)

    def add(self, words: str, throttled: bool = False, count: int = 1) -> None:
        """Count requests that are repeated. throttled: because the server asked for slower ones."""
        with self._lock:
            self.count, self.last, self.at = self.count + count, words, time.monotonic()
            if throttled:
                self.throttled_at = self.at
        if self.tell is not None:
            self.tell(words, throttled)

    def log(self, words: str, throttled: bool) -> None:
        """Write to the log that a request is repeated after all repetitions of the client.

        A command that nobody told about may wait for hours where the server asks for slower requests, so that is a
        warning, which goes to stderr, but at most one in WARN_EVERY seconds.
        """
        with self._lock:
            warn = throttled and (self._warned is None or time.monotonic() - self._warned > WARN_EVERY)
            if warn:
                self._warned = time.monotonic()
        _log.log(logging.WARNING if warn else logging.INFO, "storage: trying again: %s", words)


def _since(moment: float | None) -> float | None:
    return None if moment is None else time.monotonic() - moment


read = Traffic()
retries = Retries()
