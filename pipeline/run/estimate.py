"""Estimate the cost of a run: put a sample of its photos through all stages, without publishing them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Prices, Resources
from pipeline.index.copies import Index
from pipeline.index.units import UNIT, Pending, load
from pipeline.manifest import pending as manifest_pending
from pipeline.run.attempt import with_detectors
from pipeline.run.batching import batches, fill
from pipeline.stages.detect import DetectFaces
from pipeline.stages.fetch import fetch
from pipeline.stages.publish import composed

SAMPLE = 32  # photos: with about one face each, the error of the mean number of faces is a fifth

ENOUGH = 60.0  # seconds of restoring on a CPU, where a face of the published model takes most of a minute


@dataclass(frozen=True)
class Sample:
    """A measured sample: its photos, its faces, the seconds of a restore actor and of all other stages.

    gpu_detect_seconds: of a detector on a GPU; on a CPU, detection is among the other stages. restored: the faces that
    `restore_seconds` is the time of; fewer than `faces` where a CPU took too long. batch_faces: faces in a micro-batch.
    The last one was padded.
    """

    photos: int
    faces: int
    restored: int
    restore_seconds: float
    other_seconds: float
    batch_faces: int = 1
    gpu_detect_seconds: float = 0.0

    @property
    def faces_per_photo(self) -> float:
        return self.faces / max(1, self.photos)

    @property
    def seconds_per_place(self) -> float:
        """Seconds of a restore actor for a place in a micro-batch, which padding takes like a face."""
        return self.restore_seconds / max(1, math.ceil(self.restored / self.batch_faces) * self.batch_faces)


@dataclass(frozen=True)
class Estimate:
    """The remaining work of a run, and a sample of it measured on one restore actor.

    call_photos: fewest photos in one call of a restore actor of the run, whose last micro-batch is padded. Most calls
    have a few more, so a little less than estimated is padding. find_gpus: GPUs for each detector, 0 on a CPU.
    detectors: most of them.
    """

    photos: int
    bytes: int
    sample: Sample
    call_photos: int
    find_gpus: float = 0.0
    detectors: int = 1

    @property
    def faces(self) -> float:
        return self.photos * self.sample.faces_per_photo

    @property
    def fill(self) -> float:
        """The share of the places in micro-batches that faces will fill."""
        return fill(self.call_photos * self.sample.faces_per_photo, self.sample.batch_faces)

    @property
    def seconds_per_face(self) -> float:
        """Seconds of a restore actor for a face of the run, with its share of the padding."""
        return self.sample.seconds_per_place / self.fill

    @property
    def actor_hours(self) -> float:
        """Hours of restore actors, all actors together."""
        return self.faces * self.seconds_per_face / 3600

    @property
    def cpu_hours(self) -> float:
        """CPU hours of fetching, publishing, and of detecting if that is done on CPUs."""
        return self.photos * self.sample.other_seconds / max(1, self.sample.photos) / 3600

    @property
    def detect_hours(self) -> float:
        """Hours of detectors on GPUs, all detectors together."""
        return self.photos * self.sample.gpu_detect_seconds / max(1, self.sample.photos) / 3600

    @property
    def detect_gpu_hours(self) -> float:
        return self.detect_hours * self.find_gpus

    def restore_gpu_hours(self, resources: Resources) -> float:
        """GPU hours of restore actors. resources: without detectors; an actor had all of a GPU to itself in the sample,
        also if it will share it with a detector."""
        return self.actor_hours * resources.gpus_per_actor

    def hours(self, actors: int) -> float:
        """Hours that this many actors and all detectors on GPUs take, if the stages on CPUs keep up."""
        return max(self.actor_hours / actors, self.detect_hours / self.detectors)

    def cpus(self, actors: int) -> float:
        """CPUs with which the other stages keep up with this many actors."""
        hours = self.hours(actors)
        return self.cpu_hours / hours if hours else 0.0

    def cost(self, resources: Resources, prices: Prices) -> tuple[float, float]:
        """Cost of the run's GPUs, and of its CPUs: those of the other stages and of actors without a GPU.

        resources: as `restore_gpu_hours` takes them.
        """
        gpu_hours = self.restore_gpu_hours(resources) + self.detect_gpu_hours
        cpu_hours = self.cpu_hours + (0.0 if resources.gpus_per_actor else self.actor_hours * resources.threads)
        return gpu_hours * prices.gpu, cpu_hours * prices.cpu


def estimate(
    job: Job, resources: Resources, where: str | None = None, ray_from: float = 0, index: Index | None = None
) -> Estimate:
    """Measure a sample of the run: on a restore actor if Ray runs, else in this process. Writes nothing.

    ray_from, index: as `attempt.restore` takes them.
    """
    pending = manifest_pending.pending(job.output, where, index)
    units = chosen(pending)
    resources = with_detectors(resources, job.settings.detector, on_ray=len(pending) >= ray_from)
    sizes, resources = batches(pending, job.crop_size, resources)
    if cluster.running():
        import ray

        options = {"num_cpus": 1, "num_gpus": gpus_of_sample(resources)}
        sample = ray.get(ray.remote(measured).options(**options).remote(units, job, resources))
    else:
        sample = measured(units, job, resources)
    size = pc.sum(pending.places["bytes"]).as_py() or 0
    return Estimate(len(pending), size, sample, sizes.call_photos, resources.find_gpus, resources.detectors)


def gpus_of_sample(resources: Resources) -> float:
    """GPUs for a task that detects and restores, one after the other: one GPU is enough for both."""
    each = resources.gpus_per_actor
    return each if each >= 1 else min(1.0, each + resources.find_gpus)


def chosen(pending: Pending) -> pa.Table:
    """A sample spread evenly over all photos, as units.

    Photos in compressed tars are taken only if there are no others, and then the first ones: reading later ones means
    unpacking the whole tar.
    """
    streamed = pending.places["streamed"].to_numpy(zero_copy_only=False)
    random_access = np.flatnonzero(~streamed)
    place = random_access if len(random_access) else np.arange(min(SAMPLE, len(pending)))
    place = place[np.linspace(0, len(place) - 1, min(SAMPLE, len(place))).astype(int)]
    file, row = (pending.places[name].to_numpy()[place] for name in ("file", "row"))
    units = [{"file": pending.files[n], "rows": row[file == n]} for n in np.unique(file)]
    return pa.Table.from_pylist(units, schema=UNIT)


def measured(units: pa.Table, job: Job, resources: Resources) -> Sample:
    """Time a sample in all stages. First calls on a GPU, which are slow, are not counted."""
    from pipeline.stages.restore import RestoreFaces  # late: it imports torch

    job.environment.use()
    find, restore = DetectFaces(job, resources.find_device), RestoreFaces(job, resources)
    begun = time.perf_counter()
    read = [table for unit in units.to_pylist() for table in fetch(load(unit, job.output), job)]
    other = time.perf_counter() - begun
    if resources.find_gpus:
        deque((found for table in read[:1] for found in find(table.slice(0, 1))), maxlen=0)
    begun = time.perf_counter()
    tables = [found for table in read for found in find(table)]
    detect = time.perf_counter() - begun
    on_gpu = detect if resources.find_gpus else 0.0
    other += detect - on_gpu
    found = pa.concat_tables(tables) if tables else None
    open_rows = found.filter(pc.is_null(found["status"])) if found else None
    count = sum(map(len, units["rows"].to_pylist()))
    if open_rows is None or not len(open_rows):
        return Sample(count, 0, 0, 0.0, other, gpu_detect_seconds=on_gpu)
    restore(open_rows.slice(0, 1))
    done, seconds = timed(restore, open_rows, ENOUGH if resources.gpus_per_actor == 0 else math.inf)
    begun = time.perf_counter()
    for row in done.to_pylist():
        if row["status"] is None:
            composed(row, job)
    other += (time.perf_counter() - begun) * len(open_rows) / len(done)
    return Sample(count, faces_in(open_rows), faces_in(done), seconds, other, restore.batch_faces, on_gpu)


def timed(restore: Callable[[pa.Table], pa.Table], rows: pa.Table, enough: float) -> tuple[pa.Table, float]:
    """Restore rows, on a CPU one by one in random order until `enough` seconds are over. The results, and the time."""
    begun = time.perf_counter()
    if math.isinf(enough):
        return restore(rows), time.perf_counter() - begun
    done = []
    for row in np.random.default_rng(0).permutation(len(rows)):
        done.append(restore(rows.slice(row, 1)))
        if time.perf_counter() - begun > enough:
            break
    return pa.concat_tables(done), time.perf_counter() - begun


def faces_in(rows: pa.Table) -> int:
    return sum(map(len, rows["faces"].to_pylist()))
