"""Counts of what this process has read from storage so far, and of its retries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


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
    """Requests that are repeated because storage could not be reached or asked to slow down.

    last, at: about the latest one, and when it was. tell: is called with `last`, if set.
    """

    count: int = 0
    last: str = ""
    at: float | None = None  # of time.monotonic
    tell: Callable[[str], None] | None = None

    @property
    def ago(self) -> float | None:
        """Seconds since the latest one; None if there was none."""
        return None if self.at is None else time.monotonic() - self.at

    def add(self, words: str, count: int = 1) -> None:
        self.count, self.last, self.at = self.count + count, words, time.monotonic()
        logging.getLogger("interlcm").info("storage: trying again: %s", words)
        if self.tell is not None:
            self.tell(words)


read = Traffic()
retries = Retries()
