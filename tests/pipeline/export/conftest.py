"""One finished run with decisions, for all tests of exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.decided_run import write_decided_run


@pytest.fixture(scope="session")
def decided_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """OUTPUT of the run; tests only read it."""
    return write_decided_run(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Where an export may go."""
    return str(tmp_path / "export")
