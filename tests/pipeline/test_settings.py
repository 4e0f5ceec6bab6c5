"""What every worker gets: settings with a digest, weights that are checked, secrets that nobody can print."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from interlcm.weights_index import WeightsError
from pipeline.settings import Environment, Settings, checked_weights
from tests import tiny
from tests.stages import job

SECRET = "marker-of-a-secret-91c2"


def test_a_job_never_shows_its_secrets(tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data._internal.metadata_exporter import sanitize_for_struct

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    prepared = job(tmp_path, tiny_weights)
    assert SECRET not in repr(prepared)
    assert SECRET not in json.dumps(sanitize_for_struct({"job": prepared}), default=str)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    prepared.environment.use()

    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET


def test_the_digest_counts_what_changes_a_result() -> None:
    assert Settings().digest() == Settings(weights="elsewhere").digest()
    others = [Settings(steps=2), Settings(seed=1), Settings(color_fix="adain"), Settings(detector="haar")]
    assert len({Settings().digest(), *(other.digest() for other in others)}) == 5
    assert Environment({"AWS_SECRET_ACCESS_KEY": SECRET}).__repr__() == "Environment(hidden)"
    assert "environment" not in asdict(Settings())


def test_a_node_with_other_weights_is_refused(tmp_path: Path, tiny_weights: str) -> None:
    prepared = job(tmp_path / "out", tiny_weights)
    assert checked_weights(prepared) == Path(tiny_weights)
    other = str(tmp_path / "other")
    tiny.weights_folder(Path(other), seed=1)
    elsewhere = replace(prepared, settings=replace(prepared.settings, weights=other))
    with pytest.raises(WeightsError, match="use the same everywhere"):
        checked_weights(elsewhere)
