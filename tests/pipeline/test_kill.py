"""A run whose driver is killed or told to end, and the same command again: nothing lost, nothing twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import lease, query, storage
from pipeline.manifest import counts
from tests.pictures import coffee, decoded, encoded, hopper
from tests.pipeline.archives import put, tar_bytes

PHOTOS, FACES = 200, 20
SECONDS = 240  # more than a start takes on a busy machine


def photos() -> dict[str, bytes]:
    """Small, so that a run takes seconds; few have a face."""
    face, none = encoded(hopper(96)), encoded(coffee(96))
    return {f"box{n // 50}/{n:03}.jpg": none if n % (PHOTOS // FACES) else face for n in range(PHOTOS)}


def start(source: str, output: str, weights: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "restore", source, "--output", output, "--weights", weights]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=Path.cwd()
    )


def parts(output: Path) -> list[Path]:
    return list((output / "manifest").glob("*.parquet"))


def rows(output: Path, sql: str) -> list[dict[str, Any]]:
    with query.connect(str(output)) as connection:
        return query.run(connection, sql).to_pylist()


def end_in_the_middle(driver: subprocess.Popen[str], output: Path, number: signal.Signals) -> None:
    """Once two parts are committed. After SIGKILL no handler runs, nothing is flushed or cleaned up."""
    end = time.monotonic() + SECONDS
    try:
        while len(parts(output)) < 2:
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < end, "no two manifest parts in time"
            time.sleep(0.02)
    except BaseException:
        driver.kill()
        raise
    driver.send_signal(number)


@pytest.mark.timeout(600)
def test_a_killed_run_continues(tmp_path: Path, tiny_weights: str) -> None:
    source = put(str(tmp_path), "scans.tar", tar_bytes(photos()))
    output = tmp_path / "out"
    with start(source, str(output), tiny_weights) as driver:
        end_in_the_middle(driver, output, signal.SIGKILL)
    committed = counts(str(output))
    assert committed.adds_up
    assert 0 < committed.pending < PHOTOS

    with start(source, str(output), tiny_weights) as driver:
        printed, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 0, printed
    (left,) = re.findall(r"restore: 0/(\d+) photos", printed)
    assert 0 < int(left) <= committed.pending  # less where a worker outlived the driver by its last part

    found = counts(str(output))
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (PHOTOS, FACES, PHOTOS - FACES, 0, 0, 0)
    sql = "SELECT count(*) AS n, count(DISTINCT photo_id) AS ids, count(DISTINCT member) AS members FROM photos"
    assert rows(output, sql) == [{"n": PHOTOS, "ids": PHOTOS, "members": PHOTOS}]
    restored = rows(output, "SELECT restored_uri, width, height FROM photos WHERE status = 'restored'")
    for row in restored:
        assert decoded(storage.read_bytes(row["restored_uri"])).shape == (row["height"], row["width"], 3)
    published = {str(path) for path in (output / "restored").rglob("*.jpg")}
    assert published == {row["restored_uri"] for row in restored}  # half a file has another name


@pytest.mark.slow  # the load of a shared machine alone can end it late
@pytest.mark.timeout(600)
def test_sigterm_commits_what_is_done_and_says_how_to_go_on(tmp_path: Path, tiny_weights: str) -> None:
    source = put(str(tmp_path), "scans.tar", tar_bytes(photos()))
    output = tmp_path / "out"
    with start(source, str(output), tiny_weights) as driver:
        end_in_the_middle(driver, output, signal.SIGTERM)
        printed, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 1, printed
    assert re.fullmatch(rf"interlcm: {output}: stopped.*; start the same command again", printed.splitlines()[-1])
    found = counts(str(output))
    assert found.adds_up and 0 < found.pending < PHOTOS
    assert not (output / lease.NAME).exists()
    with start(source, str(output), tiny_weights) as driver:
        printed, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 0, printed
    assert f"restore: 0/{found.pending} photos" in printed  # no worker outlived it
    sql = "SELECT count(*) AS n, count(DISTINCT photo_id) AS ids FROM manifest"
    assert rows(output, sql) == [{"n": PHOTOS, "ids": PHOTOS}]
