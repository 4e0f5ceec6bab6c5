"""What a run or a submission says of the storage settings of this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs import credentials
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
