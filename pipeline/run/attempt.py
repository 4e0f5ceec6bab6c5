"""One attempt at a run: find the remaining work, drive the chain of stages, and audit the result."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from pipeline.cluster import connect as cluster
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.copies import Index
from pipeline.index.units import Pending
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import pending as manifest_pending
from pipeline.run import lease, merging, status, termination, waiting
from pipeline.run.attempts import attempts, record
from pipeline.run.batching import batches
from pipeline.run.chain import chain
from pipeline.run.here import Here
from pipeline.run.prepare import RunError
from pipeline.run.progress import Done, Progress
from pipeline.run.superseded import remove_superseded
from pipeline.run.waiting import Facts, Waiting
from pipeline.storage import traffic

Look = Callable[[], Facts]


@dataclass(frozen=True)
class Engine:
    """What drives the chain of stages.

    done: what it commits, as it works. stopping: set by SIGTERM. look: what is in work. drivers: a line about each, if
    there are several.
    """

    done: Iterator[Done]
    stopping: threading.Event
    look: Look
    drivers: Callable[[], Sequence[str]] = tuple


def restore(
    job: Job,
    resources: Resources,
    mine: lease.Lease,
    where: str | None = None,
    ray_from: float = 0,
    say: Callable[[str], None] = print,
    index: Index | None = None,
) -> Iterator[Progress]:
    """Restore the photos in the index of a run that are not in its manifest; yields after each committed part.

    mine: the lease of its OUTPUT. where: a condition that selects photos, as in `manifest.pending`. ray_from: this many
    photos or more run on Ray, fewer in this process. index: if its files were listed already. Starting it again
    continues: committed rows are done.

    Raises RunError if rows are missing at the end or SIGTERM stopped the run, StorageError if storage fails for all
    photos, LeaseError if another run works on the same OUTPUT.
    """
    lease.remove_leftovers(job.output)
    pending = manifest_pending.pending(job.output, where, index)
    earlier = pending.indexed - len(pending) if where is None else 0
    progress = Progress(len(pending), on_ray=len(pending) >= ray_from, earlier=earlier)
    yield progress
    with merging.beside(job.output) as merge:
        if len(pending):
            job = replace(job, number=1 + max(len(attempts(job.output)), pending.attempt))
            telemetry.label(job.output, job.number)
            resources = resources.with_compiler(len(pending))
            work = on_ray(job, resources, pending, say) if progress.on_ray else here(job, resources, pending, mine)
            with work as engine, waiting.repeated(watch(progress, mine, engine), waiting.LOOK_EVERY):
                for done in engine.done:
                    progress.add(done)
                    mine.check()
                    yield progress
                    if not engine.stopping.is_set():
                        merge.after(progress.done)
            left = progress.total - progress.done
            if engine.stopping.is_set() and left:
                raise RunError(f"{job.output}: stopped; photos left: {left}; start the same command again")
            if where is not None:  # they may have had results; others are new, or `rescan` removed their files
                remove_superseded(job.output, job.number)
        merge.finish(mine.check)
    if progress.done != progress.total:
        lost = progress.total - progress.done
        raise RunError(f"{job.output}: photos started but not finished: {lost}; start the same command again")


def watch(progress: Progress, mine: lease.Lease, engine: Engine) -> waiting.Watch:
    """Keeps `progress.waiting`, and writes it beside the lease, where `interlcm status` reads it; sets the gauges."""

    def look() -> Facts:
        facts = engine.look()
        if facts.demand:  # also while photos are done: nodes may be missing all the same
            telemetry.waiting(facts.demand.without_room)
        return facts

    def tell(found: Waiting | None) -> None:
        progress.waiting = found
        mine.note(found.lines if found else [], engine.drivers())
        telemetry.progress(progress.total, progress.total - progress.done, found.seconds if found else 0.0)

    return waiting.Watch(lambda: progress.done + progress.faces_so_far, look, tell)


def with_detectors(resources: Resources, detector: str, on_ray: bool) -> Resources:
    """With the device and the number of the run's detectors, on the cluster as it is or in this process."""
    gpus = cluster.gpus()
    if on_ray:
        resources = resources.with_detectors(detector, cluster.cpus(), gpus, cluster.joined())
    return resources.on_one_gpu(detector, gpus)


def count_repeat(words: str, throttled: bool) -> None:
    """A request that this process repeats, in the metrics; workers count theirs."""
    telemetry.storage_retried(1)


@contextmanager
def on_ray(job: Job, resources: Resources, pending: Pending, say: Callable[[str], None]) -> Iterator[Engine]:
    """The chain on the cluster that RAY_ADDRESS names, or on a new local one."""
    from pipeline.run import drivers, ledger, on_ray  # late: small runs do not use Ray, whose import takes seconds

    cluster.connect(resources.max_actors, resources.drivers)
    traffic.retries.tell = count_repeat
    sizes, resources = batches(pending, job.crop_size, with_detectors(resources, job.settings.detector, on_ray=True))
    record(job, resources)
    stages = chain(job, resources, sizes)
    if resources.drivers > 1:
        left = partial(manifest_pending.left, attempt=job.number)
        several = drivers.Drivers(stages, pending, resources, sizes, left, say)
        with termination.heeded(several.stop, job.output) as stopping, closing(several.done()) as done:
            yield Engine(done, stopping, several.look, several.lines)
        return
    book = ledger.book(resources.max_actors)
    with termination.heeded(book.stop, job.output) as stopping:
        dataset = on_ray.dataset(stages, pending, resources, sizes, book)
        tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        yield Engine(map(Done.of, tables), stopping, partial(ledger.look, book))


@contextmanager
def here(job: Job, resources: Resources, pending: Pending, mine: lease.Lease) -> Iterator[Engine]:
    """The chain in this process."""
    sizes, resources = batches(pending, job.crop_size, with_detectors(resources, job.settings.detector, on_ray=False))
    record(job, resources)
    if resources.batch_faces == 1:  # photos take seconds each and share no micro-batch, so commit each one at once
        sizes = replace(sizes, call_photos=1, part_photos=1)
    with termination.heeded(lambda: None, job.output) as stopping:
        engine = Here(chain(job, resources, sizes), stopping)
        yield Engine(map(Done.of, engine.tables(pending, mine)), stopping, engine.facts)


def audit(output: str, partial: bool = False) -> manifest_counts.Counts:
    """The counts of a run. Raises RunError if an index row has no manifest row, or the numbers do not add up.

    partial: only some photos were selected, so others may be pending.
    """
    counts = status.count_run(output).counts
    if counts.pending and not partial:
        raise RunError(f"{output}: photos still pending: {counts.pending}; start the same command again")
    if not counts.adds_up:
        raise RunError(f"{output}: the numbers do not add up; see interlcm status {output}")
    return counts
