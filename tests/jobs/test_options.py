"""Options that several commands share."""

from __future__ import annotations

import pytest
import typer

from jobs.options import thresholds
from pipeline.config.limits import Limits
from pipeline.config.settings import Review


@pytest.mark.parametrize("given", ["seconds=0", "seconds=-1", "pixels=-5", "member_pixels=0", "memory_bytes=-1"])
def test_a_limit_that_would_refuse_all_photos_or_none_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"--limit {given}: give at least 1"):
        thresholds("--limit", Limits(), [given])


def test_thresholds_may_be_any_number() -> None:
    assert thresholds("--review", Review(), ["min_identity=-1", "min_psnr=0"]).min_identity == -1
