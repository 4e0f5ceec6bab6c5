"""A run that starts on an empty cluster uses the nodes that come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.config.resources import DETECTORS_PER_ACTOR
from pipeline.manifest.counts import counts
from tests.support.archives import put, tar_bytes
from tests.support.growing import growing
from tests.support.pictures import coffee, encoded, hopper

PHOTOS = 96
# The command, which looks more often than every ten seconds: on an idle machine, nodes take less to come.
COMMAND = """
from jobs import progress
from jobs.__main__ import main
from pipeline.run import waiting

waiting.LOOK_EVERY = progress.LOG_EVERY = 0.5
main()
"""


@pytest.mark.slow  # two minutes of nodes that start; test_settings and test_batching have the bounds as tables
@pytest.mark.timeout(1800)
def test_a_restart_on_an_empty_cluster_that_grows(tmp_path: Path, tiny_weights: str) -> None:
    face, none = encoded(hopper(96)), encoded(coffee(96))
    members = {f"{n}.jpg": none if n % 8 else face for n in range(PHOTOS)}
    source, output = put(str(tmp_path), "scans.tar", tar_bytes(members)), str(tmp_path / "out")
    node = {"resources": {"CPU": 3, "object_store_memory": 200 << 20}, "max_workers": 2}
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", COMMAND, "restore", source, "--output", output, "--weights", tiny_weights]
    with growing({"cpu": node}, environment) as address:
        done = subprocess.run(
            [*command, "--actors", "1:2"],
            env=environment | {"RAY_ADDRESS": address}, capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = counts(output)
    assert (found.restored + found.no_face, found.pending, found.adds_up) == (PHOTOS, 0, True)
    (first,) = json.loads(storage.read_bytes(f"{output}/run.json"))["attempts"]
    assert first["resources"]["detectors"] == 2 * DETECTORS_PER_ACTOR
    assert "waiting: no photo for" in done.stdout and "cpu on their way" in done.stdout, done.stdout
