"""Fixtures that tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.archives import put, tar_bytes
from tests.support.command import Interlcm


@pytest.fixture
def interlcm(capsys: pytest.CaptureFixture[str]) -> Interlcm:
    return Interlcm(capsys)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The URI of an archive without a photo."""
    return put(str(tmp_path), "a.tar", tar_bytes({"notes.txt": b"a text", "more.txt": b"another"}))
