"""What a dry run says of the cost of a run."""

from __future__ import annotations

from jobs.cost import expected
from pipeline.config.resources import Prices, Resources
from pipeline.run.estimate import Estimate, Sample

SAMPLE = Sample(10, 20, 20, restore_seconds=10.0, other_seconds=5.0, gpu_detect_seconds=30.0)
ON_GPUS = Estimate(photos=3600, bytes=0, sample=SAMPLE, call_photos=8, find_gpus=0.25, detectors=8)


def test_detectors_on_gpus_have_a_line_and_a_price() -> None:
    resources = Resources(min_actors=2, max_actors=4, gpus_per_actor=1)
    lines = expected(ON_GPUS, resources, Prices(gpu=4.0)).splitlines()
    assert lines[2].endswith(": 1 h 0 min of an actor, 1.00 GPU hours")
    assert lines[3:7] == [
        "detect: 3 h 0 min of a detector, 0.75 GPU hours; with 8 detectors at most: about 22 min",
        "fetch, publish: 30 min of a CPU",
        "with 2 actors: about 30 min, and 1.0 CPUs for the rest",
        "with 4 actors: about 22 min, and 1.3 CPUs for the rest",
    ]
    assert lines[7].startswith("cost: about 7.00 (GPUs 7.00, CPUs 0.00)")
