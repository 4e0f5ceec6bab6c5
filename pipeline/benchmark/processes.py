"""CPU seconds and memory of a process and all that it started, sampled now and then."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psutil

PAUSE = 0.5  # seconds between two samples


class Watch:
    """`with Watch(pid) as watch:` samples a process and its descendants until the block ends.

    samples: the seconds since the first one, and the memory (bytes) by kind of process. Memory that processes
    share, such as Ray's object store, is counted once, by the kernel's PSS.
    """

    def __init__(
        self, pid: int, kind: Callable[[psutil.Process], str] = lambda process: "all", pause: float = PAUSE
    ) -> None:
        self.samples: list[tuple[float, Counter[str]]] = []
        self._process, self._kind, self._pause = psutil.Process(pid), kind, pause
        self._cpu: dict[tuple[int, float], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def cpu_seconds(self) -> float:
        """Of all sampled processes, up to their last sample."""
        return sum(self._cpu.values())

    @property
    def peak(self) -> int:
        """The most memory of one sample, bytes."""
        return max((sum(memory.values()) for _, memory in self.samples), default=0)

    def _look_on(self) -> None:
        begun = time.monotonic()
        while not self._done.is_set():
            memory: Counter[str] = Counter()
            with suppress(psutil.NoSuchProcess):
                for process in [self._process, *self._process.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                        times = process.cpu_times()
                        self._cpu[process.pid, process.create_time()] = times.user + times.system
                        memory[self._kind(process)] += process.memory_full_info().pss
            self.samples.append((time.monotonic() - begun, memory))
            self._done.wait(self._pause)
