"""The chain of stages that a run is: fetch -> detect -> restore -> publish."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from pipeline.cluster import connect as cluster
from pipeline.cluster import ray_data, ray_private
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.units import Pending, load
from pipeline.run.batching import BatchSizes
from pipeline.run.ledger import Isolated, Work, isolated
from pipeline.stages.fetch import fetch

# A stage's class and the arguments of its constructor.
Actor = tuple[Callable[..., Work], tuple[Any, ...]]


def chain(
    pending: Pending,
    job: Job,
    size: int,
    resources: Resources,
    book: Any,
    detector: Actor | None = None,
    restorer: Actor | None = None,
) -> ray.data.Dataset:
    """places of index rows -> bytes -> aligned crops -> restored crops -> published photos and manifest parts.

    size: of the crops, px. book: a `ledger.ledger`, in which the stages note the photos in progress. detector,
    restorer: the actors of the second and the third stage; a benchmark has stand-ins for them.
    """
    sizes = BatchSizes.of(pending, size, resources)
    ray_data.quiet().target_max_block_size = sizes.block_bytes
    detector, restorer = detector or detect_actor(job, resources), restorer or restore_actor(job, resources)
    restorers = ActorPoolStrategy(min_size=resources.min_actors, max_size=resources.max_actors)
    detectors = ActorPoolStrategy(min_size=1, max_size=most_detectors(resources))
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    run: dict[str, Any] = {"fn_kwargs": {"job": job, "book": book}, **arrow}
    # Ray types a function as one of the batch alone and does not know of fn_kwargs.
    read: Any = fetch_open
    publish: Any = publish_open
    # One block = one unit, cut by a task: the driver would take minutes. That task takes no CPU: where two CPUs are
    # left of a cluster, the actors have all but half of one.
    units = ray.data.from_arrow(pending.units(resources.max_actors)).repartition(target_num_rows_per_block=1)
    return (
        ray_private.without_cpu(units)
        .map_batches(read, batch_size=None, num_cpus=0.25, **run)
        .map_batches(
            Isolated,
            batch_size=1,
            num_cpus=0.5,
            num_gpus=resources.find_gpus,
            compute=detectors,
            fn_constructor_args=(*detector, book),
            **arrow,
        )
        .map_batches(
            Isolated,
            batch_size=sizes.call_photos,
            num_cpus=1,
            num_gpus=resources.gpus_per_actor,
            compute=restorers,
            fn_constructor_args=(*restorer, book),
            **arrow,
        )
        .map_batches(publish, batch_size=sizes.part_photos, num_cpus=0.5, **run)
    )


def most_detectors(resources: Resources) -> int:
    """The upper bound of the pool: half a CPU for each, and where they use GPUs, those that restore actors leave."""
    most = ray.cluster_resources().get("CPU", 1) / 2
    if resources.find_gpus:
        most = min(most, resources.spare_gpus(cluster.gpus()) / resources.find_gpus)
    return max(1, int(most))


# Every worker imports this module to find its stage. So each stage is imported where it is used: tests/test_imports.py
# has what the others would load with it.


def detect_actor(job: Job, resources: Resources) -> Actor:
    """The stage that decodes and detects: it brings OpenCV and libvips."""
    from pipeline.stages.detect import DetectFaces

    return DetectFaces, (job, resources.find_device)


def restore_actor(job: Job, resources: Resources) -> Actor:
    """The stage that restores: it brings torch."""
    from pipeline.stages.restore import RestoreFaces

    return RestoreFaces, (job, resources)


def fetch_open(units: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`fetch` of the index rows of units, until the run is to stop."""
    job.environment.use()
    for unit in units.to_pylist():
        for table in fetch(load(unit, job.output), job):
            if ray.get(book.stopping.remote()):
                return
            yield table


def publish_open(table: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`publish`, with the ledger kept; what is restored is published even when the run is to stop."""
    from pipeline.stages.publish import publish

    return isolated(table, partial(publish, job=job), "publish", book, last=True)
