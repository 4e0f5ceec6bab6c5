"""A server in place of the hub and the pages from which weights are downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.file_server import FileServer, serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serve() as server:
        # HF_ENDPOINT is read when the hub's client is imported; these are what it sets.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
