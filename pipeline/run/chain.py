"""The chain of stages that a run is: fetch -> detect -> restore -> publish."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.units import Pending, load
from pipeline.run.batching import BatchSizes
from pipeline.run.ledger import Isolated, Work, isolated
from pipeline.stages.detect import DetectFaces
from pipeline.stages.fetch import fetch

Actor = tuple[Callable[..., Work], tuple[Any, ...]]  # a stage's class and what its constructor takes


def chain(
    pending: Pending,
    job: Job,
    size: int,
    resources: Resources,
    book: Any,
    find: Actor | None = None,
    restore: Actor | None = None,
) -> ray.data.Dataset:
    """places of index rows -> bytes -> aligned crops -> restored crops -> published photos and manifest parts.

    size: of the crops, px. book: an `in_flight.ledger`, in which the stages note what they have in hand. find, restore:
    the actors of the second and the third stage, when others are meant than those of a run: a benchmark has stand-ins.
    """
    from pipeline.stages.restore import (
        RestoreFaces,  # here: workers of other stages import this module and need no torch
    )

    # Plans, progress, and each error of a worker twice, with all its frames, before it arrives as an exception.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    flow = BatchSizes.of(pending, size, resources)
    context.target_max_block_size = flow.block_bytes
    context.raise_original_map_exception = True  # so that a StorageError arrives as one, not as a text about it
    actors = ActorPoolStrategy(min_size=resources.min_actors, max_size=resources.max_actors)
    most = ray.cluster_resources().get("CPU", 1) / 2
    if resources.find_gpus:
        most = min(most, resources.spare_gpus(cluster.gpus()) / resources.find_gpus)
    finders = ActorPoolStrategy(min_size=1, max_size=max(1, int(most)))
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    # As Ray types a function, it takes a batch alone; what fn_kwargs adds it cannot know.
    read: Any = fetch_open
    publish: Any = publish_open
    # One block = one unit, cut by a task: the driver would take minutes. By itself that task asks for a whole CPU, and
    # Ray has no option for it: where two CPUs are left of a cluster, the actors have all but half of one.
    units = ray.data.from_arrow(pending.units(resources.max_actors)).repartition(target_num_rows_per_block=1)
    cut: Any = units._logical_plan.dag
    cut.ray_remote_args["num_cpus"] = 0
    return (
        units.map_batches(read, batch_size=None, num_cpus=0.25, fn_kwargs={"job": job, "book": book}, **arrow)
        .map_batches(
            Isolated,
            batch_size=1,
            num_cpus=0.5,
            num_gpus=resources.find_gpus,
            compute=finders,
            fn_constructor_args=(*(find or (DetectFaces, (job, resources.find_device))), book),
            **arrow,
        )
        .map_batches(
            Isolated,
            batch_size=flow.call_photos,
            num_cpus=1,
            num_gpus=resources.gpus_per_actor,
            compute=actors,
            fn_constructor_args=(*(restore or (RestoreFaces, (job, resources))), book),
            **arrow,
        )
        .map_batches(
            publish,
            batch_size=flow.part_photos,
            num_cpus=0.5,
            fn_kwargs={"job": job, "book": book},
            **arrow,
        )
    )


def fetch_open(units: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`fetch` of the index rows of units, until the run is to stop."""
    job.environment.use()
    for unit in units.to_pylist():
        for table in fetch(load(unit, job.output), job):
            if ray.get(book.stopping.remote()):
                return
            yield table


def publish_open(table: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`compose`, with the ledger kept; what is restored is published even when the run is to stop."""
    from pipeline.stages.publish import (
        publish,  # here: it brings SciPy, a second that every process of the others would take
    )

    return isolated(table, partial(publish, job=job), "compose", book, last=True)
