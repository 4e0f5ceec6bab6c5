"""What a run or a submission says of the storage settings of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from jobs import credentials
from pipeline.run.progress import Done, Progress
from pipeline.storage import client as storage_client


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*storage_client.environment(), *storage_client.local_variables()]:
        monkeypatch.delenv(name, raising=False)


def session(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    end = datetime.now(UTC) + timedelta(hours=hours, minutes=1)
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat(timespec="seconds"))


def test_nothing_to_say() -> None:
    assert credentials.notes() == credentials.too_short(1000) == []


def test_names_that_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "archive")
    (line,) = credentials.notes()
    assert line.endswith("because they concern this machine: AWS_PROFILE")


def test_a_session_of_known_length(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, hours=3)
    (line,) = credentials.notes()
    assert "(in 3 h 0 min): a run that takes longer stops" in line
    assert credentials.too_short(2) == []
    (line,) = credentials.too_short(4)
    assert "before this run: renew it first" in line


def steps(total: int) -> Iterator[Progress]:
    """A run that commits a photo at a time, and is watched until it has four."""
    progress = Progress(total)
    for _ in range(5):
        yield progress
        time.sleep(0.01)
        progress.add(Done(photos=1))


def test_a_run_that_will_outlast_the_session_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(hours: float | None, total: int, measured: float = 0.0) -> list[str]:
        words: list[str] = []
        monkeypatch.setattr(credentials, "MEASURED", measured)
        if hours is not None:
            session(monkeypatch, hours)
        assert len(list(credentials.heeded(steps(total), words.append))) == 5
        return words

    assert said(None, total=10**9) == []
    (line,) = said(3, total=10**9)
    assert line.startswith("note: the AWS session ends at ") and "at its rate the run takes " in line
    assert line.endswith(" more: it will stop then, and the same command continues it with a new session")
    assert said(3, total=10) == []  # less than an hour
    assert said(3, total=10**9, measured=300.0) == []  # not yet known


def test_a_session_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, hours=-1)
    assert "(it is over)" in credentials.notes()[0]


@pytest.mark.parametrize("end", ["", "tomorrow"])
def test_a_session_of_unknown_length(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AWS_SESSION_EXPIRATION", end)
    (line,) = credentials.notes()
    assert line.startswith("AWS_SESSION_TOKEN expires in a few hours")
    assert credentials.too_short(1000) == []
