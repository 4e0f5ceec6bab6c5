"""Compaction beside a run, so that results are counted and the lease is watched meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.manifest import compaction
from pipeline.run import kept_count

COMPACT_EVERY = 8000  # photos: about a thousand manifest parts, which a reader opens in a second or two
_LOOK = 1.0  # seconds between looks at the lease while the last compaction works
_LEAVE = 3.0  # seconds for which a run that fails or is stopped waits for a compaction, which may end anywhere


class Merging:
    """Compactions of one OUTPUT in a thread, one at a time. The faster results come, the more parts each one merges."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._merged = 0

    def after(self, done: int) -> None:
        """Begin a compaction if none works and enough photos were done since the last one began.

        done: photos so far. Raises the error of an earlier compaction.
        """
        self._check()
        if done - self._merged >= COMPACT_EVERY and not self._works():
            self._merged = done
            self._begin(whole=False)

    def finish(self, check: Callable[[], None]) -> None:
        """The compaction at the end of a run. `check` is called now and then, and may raise. Raises its errors."""
        self._wait(check)
        self._begin(whole=True)
        self._wait(check)

    def leave(self) -> None:
        """Wait a little for a compaction that still works."""
        if self._thread is not None:
            self._thread.join(_LEAVE)

    def _begin(self, whole: bool) -> None:
        self._thread = threading.Thread(target=self._compact, args=(whole,), name="compaction", daemon=True)
        self._thread.start()

    def _compact(self, whole: bool) -> None:
        try:
            if whole:
                compaction.compact_if_many(self._output)  # the run is counted anew afterwards
            else:
                kept_count.merge(self._output)
        except BaseException as error:  # raised in the run's own thread
            self._error = error

    def _works(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _wait(self, check: Callable[[], None]) -> None:
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_LOOK)
            check()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


@contextmanager
def beside(output: str) -> Iterator[Merging]:
    """The compactions of a run."""
    merging = Merging(output)
    try:
        yield merging
    finally:
        merging.leave()
