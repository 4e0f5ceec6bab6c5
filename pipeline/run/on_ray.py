"""The engine for a cluster: the chain of stages as operators of Ray Data, with actor pools for detector and model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from pipeline.cluster import ray_data, ray_private, worker_log
from pipeline.config.resources import Resources
from pipeline.index.units import Pending
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import Stage
from pipeline.run.ledger import Book, Isolated, Retries, isolated, stopping
from pipeline.storage import traffic


class Detect(Isolated):
    """The actor of the second stage. Ray names operators and processes after these classes."""


class Restore(Isolated):
    """The actor of the third stage."""


def dataset(
    stages: Sequence[Stage], pending: Pending, resources: Resources, sizes: BatchSizes, book: Book
) -> ray.data.Dataset:
    """The lazy Ray dataset of a run; its rows are the last stage's output.

    stages: the four of `chain.chain`. book: of `ledger.book`, in which the stages note the photos in progress.
    """
    fetch, detect, restore, publish = stages
    ray_data.quiet().target_max_block_size = sizes.block_bytes
    detectors = ActorPoolStrategy(min_size=1, max_size=resources.detectors)
    restorers = ActorPoolStrategy(min_size=resources.min_actors, max_size=resources.max_actors)
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    # Ray's types allow only functions with one argument, the batch, and ignore fn_kwargs.
    read: Any = fetch_open
    write: Any = publish_open
    # One block = one unit, cut by a task: in the driver this would take minutes. The task asks for no CPU: on two CPUs,
    # the actors leave only half of one.
    units = ray.data.from_arrow(pending.units(resources.max_actors)).repartition(target_num_rows_per_block=1)
    found = (
        ray_private.without_cpu(units)
        .map_batches(read, batch_size=fetch.photos, num_cpus=0.25, fn_kwargs={"stage": fetch, "book": book}, **arrow)
        .map_batches(
            Detect,
            batch_size=None,  # a block as it arrives, of several photos: one entry in the ledger
            num_cpus=0.5,
            num_gpus=resources.find_gpus,
            compute=detectors,
            fn_constructor_args=(detect, book),
            **arrow,
        )
    )
    restored = ray_private.in_one_call(
        found.map_batches(
            Restore,
            batch_size=restore.photos,
            num_cpus=1,
            num_gpus=resources.gpus_per_actor,
            compute=restorers,
            fn_constructor_args=(restore, book),
            **arrow,
        )
    )
    return ray_private.in_one_call(
        restored.map_batches(
            write, batch_size=publish.photos, num_cpus=0.5, fn_kwargs={"stage": publish, "book": book}, **arrow
        )
    )


def fetch_open(units: pa.Table, stage: Stage, book: Book) -> Iterator[pa.Table]:
    """The first stage, until the run should stop."""
    worker_log.log()
    traffic.retries.tell = Retries(book)
    made = stage.make(*stage.arguments)(units)
    for table in made:
        if stopping(book):
            return
        yield table


def publish_open(table: pa.Table, stage: Stage, book: Book) -> Iterator[pa.Table]:
    """The last stage, with the ledger; after a stop it still publishes restored photos."""
    traffic.retries.tell = Retries(book)
    return isolated(table, stage.make(*stage.arguments), stage.name, book, last=True)
