"""What a user should know about the storage settings that go to a cluster."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from jobs.times import in_words, moment
from pipeline.storage import client as storage_client

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
    end = storage_client.session_end()
    if end is None or datetime.now(UTC) + timedelta(hours=hours) < end:
        return []
    return [f"the AWS session ends at {moment(end)}, before this run: renew it first, or {_RENEWED}"]
