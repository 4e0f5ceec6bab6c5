"""A run that loses a worker and gets SIGTERM leaves nothing half done; the same command again finishes it.

On Ray this is slow; each day test_chaos stops a run on Ray after three strikes. For clusters of several nodes behind a
bad network, and for more strikes, see test_chaos_on_s3.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from pipeline.storage.output import Output
from tests.support.archives import put, tar_bytes
from tests.support.pictures import coffee, decoded, encoded, hopper

PHOTOS, FACES = 160, 4
STAGES = ("MapWorker", "MapBatches")  # in the titles of workers
SECONDS = 900  # more than a start takes on a busy machine


def photos() -> dict[str, bytes]:
    """Small, so that a run takes seconds; few have a face."""
    face, none = encoded(hopper(96)), encoded(coffee(96))
    return {f"box{n // 50}/{n:03}.jpg": none if n % (PHOTOS // FACES) else face for n in range(PHOTOS)}


def start(source: str, output: str, weights: str, engine: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "restore", source, "--output", output, "--weights", weights]
    command += ["--engine", engine]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=Path.cwd()
    )


def parts(output: Path) -> list[Path]:
    return list((output / "manifest").glob("*.parquet"))


def rows(output: Path, sql: str) -> list[dict[str, Any]]:
    with query.connect(str(output)) as connection:
        return query.run(connection, sql).to_pylist()


def wait(driver: subprocess.Popen[str], done: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not done():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.02)


def busy(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Workers with photos in progress: idle ones are called ray::IDLE, others do nothing for a run."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(stage in process.cmdline()[0] for stage in STAGES):
                found.append(process)
    return found


def strike_and_end_in_the_middle(driver: subprocess.Popen[str], output: Path, engine: str) -> None:
    """SIGKILL for a worker of Ray that is at work once a part is committed, SIGTERM for the driver two parts later."""
    try:
        wait(driver, lambda: parts(output) and (engine == "here" or busy(driver)))
        with suppress(psutil.NoSuchProcess, IndexError):  # it ended meanwhile
            busy(driver)[0].kill()
        before = len(parts(output))
        wait(driver, lambda: len(parts(output)) >= before + 2)
    except BaseException:
        driver.kill()
        raise
    driver.terminate()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ["here", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_run_that_is_ended_leaves_nothing_half_done(tmp_path: Path, tiny_weights: str, engine: str) -> None:
    source = put(str(tmp_path), "scans.tar", tar_bytes(photos()))
    output = tmp_path / "out"
    with start(source, str(output), tiny_weights, engine) as driver:
        strike_and_end_in_the_middle(driver, output, engine)
        printed, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 1, printed
    # Ray reports the dead worker on the same stream, sometimes later.
    (line,) = [line for line in printed.splitlines() if line.startswith("interlcm: ")]
    assert re.fullmatch(rf"interlcm: {output}: stopped.*; start the same command again", line)
    found = counts(str(output))
    assert found.adds_up and found.failed == 0
    assert (found.indexed, found.pending) == (PHOTOS, PHOTOS - found.restored - found.no_face)
    assert 0 < found.pending < PHOTOS
    assert not Path(Output(str(output)).lease).exists()  # the next run does not wait
    whole(output)

    failed = run(Request([source], str(output), Settings(weights=tiny_weights), actors=(1, 1)))
    found = counts(str(output))
    assert (failed, found.pending, found.restored + found.no_face, found.adds_up) == (0, 0, PHOTOS, True)
    whole(output)


def whole(output: Path) -> None:
    """No photo has two rows, every restored file is whole, and there are no others."""
    # From `manifest`, which has every row; `photos` has only the newest row of a photo.
    (found,) = rows(output, "SELECT count(*) AS n, count(DISTINCT photo_id) AS ids FROM manifest")
    assert found["n"] == found["ids"] > 0
    restored = rows(output, "SELECT restored_uri, width, height FROM photos WHERE status = 'restored'")
    for row in restored:
        assert decoded(storage.read_bytes(row["restored_uri"])).shape == (row["height"], row["width"], 3)
    published = {str(path) for path in (output / "restored").rglob("*") if path.is_file()}
    assert published == {row["restored_uri"] for row in restored}
