"""The chain of stages of a run: fetch -> detect -> restore -> publish.

Two engines drive it: `on_ray` on a cluster, `here` in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.units import load
from pipeline.run.batching import BatchSizes
from pipeline.stages.fetch import fetch

Work = Callable[[pa.Table], pa.Table | Iterator[pa.Table]]  # what a stage does with a table of rows


@dataclass(frozen=True)
class Stage:
    """One stage of the chain.

    make, arguments: a call, in the process that does the work, which returns the work: an object that has loaded a
    detector or a model, or a function. photos: rows in one call of the work; on Ray a few more, since calls are whole
    blocks there; None: as many as arrive.
    """

    name: str
    make: Callable[..., Work]
    arguments: tuple[Any, ...]
    photos: int | None = None


def chain(job: Job, resources: Resources, sizes: BatchSizes) -> tuple[Stage, Stage, Stage, Stage]:
    """units -> bytes -> aligned crops -> restored crops -> published photos and manifest parts."""
    plain = replace(job, verdicts={})  # which may be many, and are in the rows after detect
    return (
        Stage("fetch", reader, (plain, sizes.block_bytes)),
        Stage("detect", finder, (job, resources.find_device), 1),
        Stage("restore", restorer, (plain, resources), sizes.call_photos),
        Stage("publish", publisher, (plain,), sizes.part_photos),
    )


# All but the first, which needs little, import their stage when they make it: every process of a run imports this
# module, but a worker loads only its own stage, and a driver none (tests/test_imports.py).


def reader(job: Job, block_bytes: int) -> Work:
    """The first stage: reads the members of the index rows that the units name."""

    def read(units: pa.Table) -> Iterator[pa.Table]:
        job.environment.use()
        for unit in units.to_pylist():
            yield from fetch(load(unit, job.output), job, block_bytes)

    return read


def finder(job: Job, device: str) -> Work:
    """The second stage, with its detector."""
    from pipeline.stages.detect import DetectFaces

    return DetectFaces(job, device)


def restorer(job: Job, resources: Resources) -> Work:
    """The third stage, with the model."""
    from pipeline.stages.restore import RestoreFaces

    return RestoreFaces(job, resources)


def publisher(job: Job) -> Work:
    """The last stage: writes photos and commits their rows."""
    from pipeline.stages.publish import publish

    return partial(publish, job=job)
