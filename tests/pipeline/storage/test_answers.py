"""A server that asks for slower requests: its codes, and how long it asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import storage
from pipeline.storage import client, traffic
from pipeline.storage.answers import LONGEST_ASKED, asked_pause, http_status
from pipeline.storage.errors import storage_errors
from tests.support.file_server import serve

DATA = bytes(range(256)) * 8


def test_a_web_server_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec takes its 429 for a missing file."""
    pauses: list[float] = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(traffic, "retries", traffic.Retries())
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    with serve() as server:
        server.files["/a.tar"] = DATA
        uri = f"{server.url}/a.tar"
        server.busy = ["7", later, "86400", "soon", "0", "7", "7", "7"]
        assert storage.read_bytes(uri, 10, 20) == DATA[10:20]
        assert (pauses[0], pauses[2:]) == (7, [LONGEST_ASKED, 0, 0, 7, 7, 7]) and 400 < pauses[1] <= 500
        server.busy = ["3", "3"]  # to HEAD and to GET
        assert storage.describe(uri) == ("file", len(DATA))
        assert pauses[8:] == [3] and traffic.retries.count == len(pauses)
        assert traffic.retries.last == f"{uri}: the server asks for slower requests (429)"
        assert not server.busy


class GoogleError(Exception):
    """As gcsfs has it: the number may be a text."""

    def __init__(self, code: Any) -> None:
        super().__init__(f"Please reduce your request rate, {code}")
        self.code = code


class AzureError(Exception):
    """As Azure's SDK has it."""

    def __init__(self, status: int) -> None:
        super().__init__("The server is busy.")
        self.status_code, self.error_code = status, "ServerBusy"
        self.response = SimpleNamespace(headers={"Retry-After": "5"})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GoogleError(429), "throttled"),
        (GoogleError("503"), "throttled"),
        (GoogleError(500), "unreachable"),
        (GoogleError(400), "failed"),
        (AzureError(503), "throttled"),
        (AzureError(500), "unreachable"),
        (AzureError(409), "failed"),
        (OSError(5, "Input/output error"), "failed"),
    ],
)
def test_the_codes_of_other_clouds_by_their_documentation(error: Exception, reason: str) -> None:
    with pytest.raises(storage.StorageError) as caught, storage_errors("gs://bucket/a.tar"):
        raise error
    assert caught.value.reason == reason
    assert asked_pause(error) == (5 if isinstance(error, AzureError) else 0)
    assert http_status(error) == str(getattr(error, "code", getattr(error, "status_code", "")))
