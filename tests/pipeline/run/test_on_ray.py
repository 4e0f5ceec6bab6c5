"""The chain as operators of Ray Data, before anything runs. Whole runs on Ray: test_run, test_here, test_kill."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.resources import Resources
from pipeline.manifest.pending import pending
from pipeline.run import ledger, on_ray
from pipeline.run.batching import FULL, BatchSizes, fitting
from pipeline.run.chain import chain
from pipeline.stages.fetch import BLOCK_PHOTOS
from tests.support.archives import index_sources, put, tar_bytes
from tests.support.blocks import filled, light, noted
from tests.support.blocks import pending as those
from tests.support.stages import job


@pytest.mark.usefixtures("ray_cluster")
def test_each_stage_is_an_operator_of_its_own(
    tmp_path: Path, tiny_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No further operators (a shuffle, a sort), and no two fused: each stage has its own number of workers."""
    output, one = str(tmp_path / "out"), Resources()
    index_sources([put(str(tmp_path), "a.tar", tar_bytes({"a.jpg": b"a", "b.jpg": b"b"}))], output)
    sizes = BatchSizes(call_photos=4, part_photos=2, block_bytes=1 << 20)
    stages = chain(job(output, tiny_weights), one, sizes)
    on_ray.dataset(stages, pending(output), one, sizes, ledger.Book(())).explain()
    plan = capsys.readouterr().out.rpartition("Physical Plan (Optimized)")[2]
    operators = re.findall(r"(\w+)\[MapBatches\((\w+)\)\]", plan)
    assert operators == [
        ("TaskPoolMapOperator", "publish_open"),
        ("ActorPoolMapOperator", "Restore"),
        ("ActorPoolMapOperator", "Detect"),
        ("TaskPoolMapOperator", "fetch_open"),
    ]
    assert plan.count("Operator[") == len(operators) + 1  # the one that cuts the units apart


PHOTOS, ARCHIVES = 240, 2  # few: all are read at once, by a worker each


@pytest.mark.usefixtures("ray_cluster")
def test_a_call_and_a_part_are_whole_blocks(tmp_path: Path) -> None:
    """For photos of 1 MB on nodes of 16 GiB, as light ones in light blocks: no few photos are left for another call."""
    store, actor = int(0.3 * 16 * 2**30), Resources(batch_faces=32, find_batch=True, gpus_per_actor=1)
    sizes, actor = fitting(10**8, 1e6, 512, actor, store, store)
    photos, sizes, stages = light(PHOTOS, 1e6, sizes, str(tmp_path))
    dataset = on_ray.dataset(stages, those(photos, ARCHIVES), Resources(), sizes, ledger.book())
    tables: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    assert sum(table.num_rows for table in tables) == PHOTOS
    made, parts = noted(tmp_path / "calls"), noted(tmp_path / "parts")
    for found, fewest in ((made, sizes.call_photos), (parts, sizes.part_photos)):
        assert sum(map(len, found)) == PHOTOS
        assert sorted(map(len, found))[1] >= fewest  # the last one has what is left
        assert max(map(len, found)) <= fewest + BLOCK_PHOTOS
    assert filled(map(sum, made), actor.batch_faces) >= FULL
