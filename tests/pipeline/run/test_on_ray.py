"""The chain as operators of Ray Data, before anything runs. Whole runs on Ray: test_run, test_here, test_kill."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.resources import Resources
from pipeline.manifest.pending import pending
from pipeline.run import ledger, on_ray
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import chain
from tests.support.archives import index_sources, put, tar_bytes
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
    on_ray.dataset(stages, pending(output), one, sizes, ledger.book()).explain()
    plan = capsys.readouterr().out.rpartition("Physical Plan (Optimized)")[2]
    operators = re.findall(r"(\w+)\[MapBatches\((\w+)\)\]", plan)
    assert operators == [
        ("TaskPoolMapOperator", "publish_open"),
        ("ActorPoolMapOperator", "Restore"),
        ("ActorPoolMapOperator", "Detect"),
        ("TaskPoolMapOperator", "fetch_open"),
    ]
    assert plan.count("Operator[") == len(operators) + 1  # the one that cuts the units apart
