"""The chain of stages that a run is: fetch -> detect -> restore -> publish.

Two engines drive it: `on_ray` on a cluster, `here` in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.units import load
from pipeline.run.batching import BatchSizes

Work = Callable[[pa.Table], pa.Table | Iterator[pa.Table]]  # what a stage does with a table of rows


@dataclass(frozen=True)
class Stage:
    """One stage of the chain.

    make, arguments: the call that gives the stage's work, in the process that does it: a class that loads a detector or
    a model, or a function. photos: rows that the work gets in one call; None: as they come.
    """

    name: str
    make: Callable[..., Work]
    arguments: tuple[Any, ...]
    photos: int | None = None


def chain(job: Job, resources: Resources, sizes: BatchSizes) -> tuple[Stage, Stage, Stage, Stage]:
    """units -> bytes -> aligned crops -> restored crops -> published photos and manifest parts."""
    # Here, because every worker imports this module: each loads its own stage and no other (tests/test_imports.py).
    from pipeline.stages.detect import DetectFaces
    from pipeline.stages.restore import RestoreFaces

    return (
        Stage("fetch", reader, (job,)),
        Stage("detect", DetectFaces, (job, resources.find_device), 1),
        Stage("restore", RestoreFaces, (job, resources), sizes.call_photos),
        Stage("publish", publisher, (job,), sizes.part_photos),
    )


def reader(job: Job) -> Work:
    """The first stage: the members of the index rows that units name."""
    from pipeline.stages.fetch import fetch

    def read(units: pa.Table) -> Iterator[pa.Table]:
        job.environment.use()
        for unit in units.to_pylist():
            yield from fetch(load(unit, job.output), job)

    return read


def publisher(job: Job) -> Work:
    """The last stage: it writes photos and commits their rows."""
    from pipeline.stages.publish import publish

    return partial(publish, job=job)
