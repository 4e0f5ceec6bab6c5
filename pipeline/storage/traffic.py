"""Count of what this process has read from storage so far; benchmarks and metrics take differences."""

from __future__ import annotations

import threading
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


read = Traffic()
