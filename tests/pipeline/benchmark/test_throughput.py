"""Bounds on the cost of a run, counted on a small run with stand-in models, never timed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray

from pipeline.benchmark import memory, photos, throughput
from pipeline.benchmark.stand_in import Call
from pipeline.benchmark.throughput import Measured
from pipeline.config.resources import Resources
from tests.support.archives import index_sources

PHOTOS = 24
LAG = 12.0  # seconds: counts of earlier tests on the same cluster are exported up to ten seconds later


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Measured:
    folder = tmp_path_factory.mktemp("throughput")
    photos.write_archives(str(folder / "scans"), PHOTOS, 20_000, 40_000)
    index_sources([str(folder / "scans")], str(folder / "run"))
    time.sleep(LAG)
    return throughput.measure(str(folder / "run"), Resources(1, 1, batch_faces=2), seconds=0.02, size=64)


# Slow: a run of its own and the 12 s of LAG. Daily, tests/pipeline/run counts reads, decodes and operators.
@pytest.mark.slow
def test_every_photo_is_read_once_and_decoded_twice(measured: Measured) -> None:
    assert measured.photos == PHOTOS
    assert measured.counted["interlcm_decodes"] == 2 * PHOTOS
    assert 1 <= measured.counted["interlcm_read_bytes"] / measured.counted["interlcm_bytes"] <= 1.05


@pytest.mark.slow
def test_micro_batches_are_filled_across_photos(measured: Measured) -> None:
    assert 2 * PHOTOS < measured.faces < 3 * PHOTOS
    assert measured.fill >= 0.95


@pytest.mark.slow
def test_the_chain_is_the_operators_that_it_was_made_of(measured: Measured) -> None:
    """No further operators (a shuffle, a sort), and no two fused: each stage has its own number of workers."""
    names = [row["operator"] for row in throughput.operators(measured.stats)]
    stages = ["MapBatches(fetch_open)", "MapBatches(Detect)", "MapBatches(Restore)", "MapBatches(publish_open)"]
    assert [name for name in names if name.startswith("MapBatches")] == stages
    assert len(names) <= len(stages) + 2  # the index rows, and how they are cut


def test_shares_are_of_the_time_when_all_actors_work() -> None:
    """Two actors, ideal 4 faces/s: in the window from 2 to 8, one works all the time, the other two thirds of it."""
    micro_batches = [Call(1, 0, 4, 8, 8), Call(1, 4, 8, 6, 8), Call(2, 2, 6, 8, 8), Call(2, 8, 12, 8, 8)]
    calls = [Call(1, 0, 8), Call(2, 2, 6.5), Call(2, 8, 12)]
    made = Measured(-2, 14, 10, 4.0, micro_batches, calls, {}, "")
    assert made.window == (2, 8)
    assert made.share(made.micro_batches) == pytest.approx(10 / 12)
    assert made.share(made.calls) == pytest.approx(10.5 / 12)
    assert made.fill == 30 / 32 and made.steady == pytest.approx(10 / 12 * 30 / 32)
    assert made.whole == 30 / (16 * 4)
    # 30 faces at the steady pace take 9.6 s, so 6.4 s are start and end; ten times as many photos take 102.4 s.
    assert made.expected(100) == pytest.approx(300 / (4 * 102.4))


@pytest.mark.slow  # a further run, only for a table of the benchmark
@pytest.mark.timeout(900)
def test_the_memory_benchmark_sees_every_kind_of_process(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run, after the first one, whose counters reach the nodes late."""
    monkeypatch.setattr(memory, "PAUSE", 0.5)
    photos.write_archives(str(tmp_path / "scans"), 24, 20_000, 40_000)
    index_sources([str(tmp_path / "scans")], str(tmp_path / "run"))
    seen = memory.measure(str(tmp_path / "run"), Resources(1, 1, batch_faces=2), 64)
    limit = int(ray.cluster_resources()["object_store_memory"])
    rows = memory.table(seen, limit)
    assert [row["tenth"] for row in rows] == list(range(1, 11))
    assert seen.marks[-1].photos == 24
    for name in ("driver", "find", "restore", "sandbox"):  # tasks that end within a second may not be seen
        assert max(row[f"{name} MB"] or 0 for row in rows) > 10
    assert 0 < max(mark.stored for mark in seen.marks) < limit
