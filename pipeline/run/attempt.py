"""One attempt at a run: find the remaining work, drive the chain of stages, and audit the result."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from pipeline.cluster import connect as cluster
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.schema import root_id
from pipeline.index.units import Pending
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import pending as manifest_pending
from pipeline.run import lease, merging, status, termination, waiting
from pipeline.run.attempts import last_number, record
from pipeline.run.batching import batches
from pipeline.run.chain import chain
from pipeline.run.here import Here
from pipeline.run.prepare import RunError
from pipeline.run.superseded import remove_superseded
from pipeline.run.waiting import Facts, Waiting

Tables = Iterator[pa.Table]
Look = Callable[[], Facts]


@dataclass
class Progress:
    """What this attempt has committed so far.

    total: files to do. earlier: files with a result of an earlier attempt. on_ray: it runs on Ray, not in this process.
    before: faces that this process restored before the attempt. waiting: what for, while nothing moves.
    """

    total: int
    on_ray: bool = False
    earlier: int = 0
    done: int = 0
    faces: int = 0
    failed: int = 0
    before: int = field(default_factory=lambda: telemetry.faces_here)
    begun: float = field(default_factory=time.monotonic)
    waiting: Waiting | None = None

    @property
    def faces_so_far(self) -> int:
        """Faces in committed photos; without Ray, also the restored faces of photos in progress."""
        if self.on_ray or self.done == self.total:
            return self.faces
        return max(self.faces, telemetry.faces_here - self.before)

    def add(self, done: pa.Table) -> None:
        self.done += sum(
            root_id(photo_id) == photo_id for photo_id in done["photo_id"].to_pylist()
        )  # a member counts once
        self.faces += sum(done["face_count"].to_pylist())
        self.failed += done["status"].to_pylist().count("failed")
        if self.waiting is not None and not self.waiting.slow:
            self.waiting = None


def restore(
    job: Job, resources: Resources, mine: lease.Lease, where: str | None = None, ray_from: float = 0
) -> Iterator[Progress]:
    """Restore the photos in the index of a run that are not in its manifest; yields after each committed part.

    mine: the lease of its OUTPUT. where: a condition that selects photos, as in `manifest.pending`. ray_from: this many
    photos or more run on Ray, fewer in this process. Starting it again continues: committed rows are done.

    Raises RunError if rows are missing at the end or SIGTERM stopped the run, StorageError if storage fails for all
    photos, LeaseError if another run works on the same OUTPUT.
    """
    lease.remove_leftovers(job.output)
    pending = manifest_pending.pending(job.output, where)
    earlier = pending.indexed - len(pending) if where is None else 0
    progress = Progress(len(pending), on_ray=len(pending) >= ray_from, earlier=earlier)
    yield progress
    with merging.beside(job.output) as merge:
        if len(pending):
            job = replace(job, number=last_number(job.output) + 1)
            telemetry.label(job.output, job.number)
            resources = resources.with_compiler(len(pending))
            work = on_ray(job, resources, pending) if progress.on_ray else here(job, resources, pending, mine)
            with work as (tables, stopping, look), waiting.repeated(watch(progress, mine, look), waiting.LOOK_EVERY):
                for done in tables:
                    progress.add(done)
                    mine.check()
                    yield progress
                    if not stopping.is_set():
                        merge.after(progress.done)
            left = progress.total - progress.done
            if stopping.is_set() and left:
                raise RunError(f"{job.output}: stopped; photos left: {left}; start the same command again")
            if where is not None:  # they may have had results; others are new, or `rescan` removed their files
                remove_superseded(job.output, job.number)
        merge.finish(mine.check)
    if progress.done != progress.total:
        lost = progress.total - progress.done
        raise RunError(f"{job.output}: photos started but not finished: {lost}; start the same command again")


def watch(progress: Progress, mine: lease.Lease, look: Look) -> waiting.Watch:
    """Keeps `progress.waiting`, and writes it beside the lease, where `interlcm status` reads it."""

    def tell(found: Waiting | None) -> None:
        progress.waiting = found
        mine.note(found.lines if found else [])
        demand = found.facts.demand if found else None
        without_room = demand.without_room if demand else {}
        telemetry.progress(progress.total - progress.done, found.seconds if found else 0.0, without_room)

    return waiting.Watch(lambda: progress.done + progress.faces_so_far, look, tell)


@contextmanager
def on_ray(job: Job, resources: Resources, pending: Pending) -> Iterator[tuple[Tables, threading.Event, Look]]:
    """The chain on the cluster that RAY_ADDRESS names, or on a new local one; with the event that SIGTERM sets."""
    from pipeline.run import ledger, on_ray  # late: small runs do not use Ray, whose import takes seconds

    cluster.connect(resources.max_actors)
    detector, gpus = job.settings.detector, cluster.gpus()
    resources = resources.with_detectors(detector, cluster.cpus(), gpus, cluster.joined()).on_one_gpu(detector, gpus)
    sizes, resources = batches(pending, job.crop_size, resources)
    record(job, resources)
    book = ledger.book(resources.max_actors)
    with termination.heeded(book.stop, job.output) as stopping:
        dataset = on_ray.dataset(chain(job, resources, sizes), pending, resources, sizes, book)
        yield iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow")), stopping, partial(ledger.look, book)


@contextmanager
def here(
    job: Job, resources: Resources, pending: Pending, mine: lease.Lease
) -> Iterator[tuple[Tables, threading.Event, Look]]:
    """The chain in this process; with the event that SIGTERM sets."""
    resources = resources.on_one_gpu(job.settings.detector, cluster.gpus())
    sizes, resources = batches(pending, job.crop_size, resources)
    record(job, resources)
    if resources.batch_faces == 1:  # photos take seconds each and share no micro-batch, so commit each one at once
        sizes = replace(sizes, call_photos=1, part_photos=1)
    with termination.heeded(lambda: None, job.output) as stopping:
        engine = Here(chain(job, resources, sizes), stopping)
        yield engine.tables(pending, mine), stopping, engine.facts


def audit(output: str, partial: bool = False) -> manifest_counts.Counts:
    """The counts of a run. Raises RunError if an index row has no manifest row, or the numbers do not add up.

    partial: only some photos were selected, so others may be pending.
    """
    counts = status.counted(output).counts
    if counts.pending and not partial:
        raise RunError(f"{output}: photos still pending: {counts.pending}; start the same command again")
    if not counts.adds_up:
        raise RunError(f"{output}: the numbers do not add up; see interlcm status {output}")
    return counts
