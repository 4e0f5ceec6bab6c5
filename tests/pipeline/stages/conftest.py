"""What several tests of the restore stage share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def stage(tmp_path: Path, tiny_weights: str) -> Any:
    """Builds the restore stage, with random weights; keywords are fields of Settings."""
    from pipeline.config.resources import Resources
    from pipeline.stages.restore import RestoreFaces
    from tests.support.stages import job

    def build(weights: str = tiny_weights, **settings: Any) -> Any:
        return RestoreFaces(job(tmp_path, weights, **settings), Resources())

    return build
