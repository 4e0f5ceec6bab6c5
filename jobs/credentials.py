"""What a user should know about the storage settings that go to a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobs.times import in_words, moment
from pipeline.storage import client as storage_client

if TYPE_CHECKING:
    from pipeline.run.progress import Progress

MEASURED = 300.0  # seconds of results after which a run knows its rate

# Then no process of the run has a session: also the one that started it is on a node, whose role renews itself.
_RENEWED = "give the nodes a role, and use interlcm submit --no-credentials"


def notes() -> list[str]:
    """One line about settings that stay here, and one about credentials that end; names and times, never values."""
    return [*_stay(), *_end()]


def _stay() -> list[str]:
    local = storage_client.local_variables()
    if not local:
        return []
    return [f"not sent to the nodes because they concern this machine: {', '.join(local)}"]


def _end() -> list[str]:
    if "AWS_SESSION_TOKEN" not in os.environ:
        return []
    remedy = f"a run that takes longer stops and can be continued; for one without a stop {_RENEWED}"
    end = storage_client.session_end()
    if end is None:
        return [f"AWS_SESSION_TOKEN expires in a few hours: {remedy}"]
    return [f"the AWS session ends at {moment(end)} ({_until(end)}): {remedy}"]


def _until(end: datetime) -> str:
    left = end - datetime.now(UTC)
    return f"in {in_words(left)}" if left > timedelta() else "it is over"


def too_short(hours: float) -> list[str]:
    """A line if the AWS session ends before a run that takes this long."""
    end = _end_before(timedelta(hours=hours))
    return [f"the AWS session ends at {moment(end)}, before this run: renew it first, or {_RENEWED}"] if end else []


def _end_before(left: timedelta) -> datetime | None:
    """The end of the AWS session if it is nearer than this."""
    end = storage_client.session_end()
    return end if end and end <= datetime.now(UTC) + left else None


def heeded(steps: Iterator[Progress], say: Callable[[str], None]) -> Iterator[Progress]:
    """The same steps of a run; says once if the AWS session ends before the run would at the rate of its results.

    The time before the first results does not count: the cluster grows, and actors load their model.
    """
    begun = before = 0.0
    said = False
    for progress in steps:
        yield progress
        now, new = time.monotonic(), progress.done - before
        if not before:
            begun, before = now, progress.done
        elif not said and new and now - begun >= MEASURED:
            left = timedelta(seconds=(now - begun) / new * (progress.total - progress.done))
            if end := _end_before(left):
                words = f"the AWS session ends at {moment(end)}, and at its rate the run takes {in_words(left)} more"
                say(f"note: {words}: it will stop then, and the same command continues it with a new session")
                said = True
