"""A whole evaluation: its chain of stages turns pairs of pictures into rows, sets of features and a grid."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from PIL import Image

from interlcm.degradation import Degradation
from interlcm.fid import Moments, frechet_distance
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.evaluation.crops import CutFaces
from pipeline.evaluation.grid import grid
from pipeline.evaluation.interval import mean_interval
from pipeline.evaluation.measures import MeasureFaces
from pipeline.evaluation.pairs import Pairs, fetch_pairs
from pipeline.evaluation.pixels import COLUMNS, compare
from pipeline.evaluation.schema import EVALUATION_SCHEMA, Metric
from pipeline.index.units import split
from pipeline.run.batching import BATCH_PHOTOS, MAX_BLOCK_BYTES
from pipeline.run.chain import Stage, Work
from pipeline.run.here import Here, one_by_one
from pipeline.run.prepare import RunError
from pipeline.run.progress import Progress
from pipeline.stages.row import Row
from pipeline.storage.output import check_not_in_run

FILE = "faces.parquet"
TITLES = {"lq": "LQ", "restored": "restored", "hq": "HQ"}  # of the grid's columns


def pair_reader(job: Job) -> Work:
    return partial(fetch_pairs, job=job)


def comparer() -> Work:
    return compare


@dataclass
class Evaluation:
    """The results of `measure`.

    rows: one for each face, and for each file without one, in the order of the pairs.
    sets: features of all LQ, restored and HQ faces, empty without Inception's weights.
    """

    job: Job
    degradations: tuple[Degradation, ...] | None  # of HQ faces without an LQ picture; None if there are none
    metric_weights: str  # URI of the weights folder with the metrics' networks
    metric_index: dict[str, Any]  # and its index
    rows: list[Row] = field(default_factory=list)
    sets: dict[str, Moments] = field(default_factory=lambda: {name: Moments() for name in COLUMNS})
    pictures: list[bytes] = field(default_factory=list)  # PNGs, one for each row of the grid

    def measure(self, pairs: Pairs, resources: Resources) -> Iterator[Progress]:
        """Restore and measure all pairs; yields after each batch that is done.

        Raises RunError if pairs are missing in the end, StorageError if storage fails for all files.
        """
        progress = Progress(total=pairs.pairs.num_rows)
        yield progress
        found: list[Row] = []
        table: Any
        for table in self.tables(pairs.pairs, resources):
            rows = table.to_pylist()
            for row in rows:
                self.add_features(row.pop("features"))
            found += rows
            progress.done += sum(row["face_index"] in (None, 0) for row in rows)  # a pair may have many faces
            progress.faces += sum(row["status"] == "measured" for row in rows)
            progress.failed += sum(row["status"] == "failed" for row in rows)
            yield progress
        if progress.done != progress.total:
            lost = progress.total - progress.done
            raise RunError(
                f"{lost} of {progress.total} pairs were started but not finished; start the same command again"
            )
        found.sort(key=lambda row: (row["pair"], row["face_index"] or 0))
        self.pictures = [row["picture"] for row in found if row["picture"] is not None]
        self.rows = [self.finished(row) for row in (*found, *pairs.ended)]

    def tables(self, pairs: pa.Table, resources: Resources) -> Iterator[Any]:
        """The tables of the last stage for these pairs: on Ray if it runs, else in this process."""
        if not cluster.running():
            return Here(self.stages(resources), threading.Event()).together(one_by_one(pairs))
        dataset = self.on_ray(list(split(pairs, resources.max_actors)), resources)
        return iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))

    def stages(self, resources: Resources) -> tuple[Stage, Stage, Stage, Stage]:
        """pairs -> bytes of both files -> aligned crops -> restored crops and networks' views -> metrics of pixels."""
        faces = max(BATCH_PHOTOS, resources.batch_faces)
        return (
            Stage("fetch", pair_reader, (self.job,)),
            Stage("cut", CutFaces, (self.job, self.degradations or ()), 1),
            Stage("measure", MeasureFaces, (self.job, resources, self.metric_weights, self.metric_index), faces),
            Stage("compare", comparer, (), BATCH_PHOTOS),
        )

    def on_ray(self, units: list[pa.Table], resources: Resources) -> Any:
        """The lazy Ray dataset of the same stages. units: each is what one task reads."""
        import ray
        from ray.data import ActorPoolStrategy

        from pipeline.cluster import ray_data

        ray_data.quiet().target_max_block_size = MAX_BLOCK_BYTES
        _, cut, measure, last = self.stages(resources)
        actors = ActorPoolStrategy(min_size=resources.min_actors, max_size=resources.max_actors)
        cutters = ActorPoolStrategy(min_size=1, max_size=max(1, cluster.cpus() // 2))
        arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
        read: Any = fetch_pairs  # by Ray's types, a function takes only a batch
        return (
            ray.data.from_arrow(units)
            .map_batches(read, batch_size=None, num_cpus=0.25, fn_kwargs={"job": self.job}, **arrow)
            .map_batches(
                CutFaces,
                batch_size=cut.photos,
                num_cpus=0.5,
                compute=cutters,
                fn_constructor_args=cut.arguments,
                **arrow,
            )
            .map_batches(
                MeasureFaces,
                batch_size=measure.photos,
                num_cpus=1,
                num_gpus=resources.gpus_per_actor,
                compute=actors,
                fn_constructor_args=measure.arguments,
                **arrow,
            )
            .map_batches(compare, batch_size=last.photos, num_cpus=0.5, **arrow)
        )

    def add_features(self, features: list[list[float]] | None) -> None:
        for name, one in zip(COLUMNS, features or [], strict=False):  # without HQ there are two
            self.sets[name].add(torch.tensor([one]))

    def finished(self, row: Row) -> Row:
        """The row of the Parquet file."""
        settings = {
            **asdict(self.job.settings),
            "degradations": None if self.degradations is None else [asdict(one) for one in self.degradations],
            "metric_weights": self.metric_weights,
        }
        row |= {"weights_digest": self.job.weights_digest, "software_version": self.job.software_version}
        row["settings"] = json.dumps(settings, sort_keys=True)
        return {name: row.get(name) for name in EVALUATION_SCHEMA.names}

    @property
    def measured(self) -> list[Row]:
        return [row for row in self.rows if row["status"] == "measured"]

    def fid(self, name: str) -> float | None:
        """FID of the LQ or the restored faces to the HQ faces; None without weights, or with fewer than two faces."""
        if min(self.sets[name].count, self.sets["hq"].count) < 2:
            return None
        return frechet_distance(self.sets[name], self.sets["hq"])

    def statistic(self, metric: Metric, name: str) -> tuple[float, float, float] | None:
        """Mean and 95% interval of a metric of the LQ or the restored faces; None if no face has it."""
        values = [row[f"{metric.name}_{name}"] for row in self.measured]
        known = [value for value in values if value is not None]
        return mean_interval(known) if known else None

    def write(self, output: str) -> str:
        """Write or replace OUTPUT/faces.parquet, whole or not at all; returns its URI."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pa.Table.from_pylist(self.rows, schema=EVALUATION_SCHEMA), sink, compression="zstd")
        uri = storage.join(storage.canonical(output), FILE)
        check_not_in_run(uri)
        storage.write_bytes(uri, sink.getvalue().to_pybytes())
        return uri

    def grid(self) -> Image.Image | None:
        """The faces of the marked pairs, LQ, restored and HQ; None if none was measured."""
        rows = []
        for data in self.pictures:
            with Image.open(io.BytesIO(data)) as strip:
                rows.append(np.split(np.asarray(strip), strip.width // strip.height, axis=1))
        return grid([TITLES[name] for name in COLUMNS[: len(rows[0])]], rows) if rows else None
