"""One attempt at a run: what remains, the chain of stages that does it, and the audit at the end."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from interlcm import weights_index
from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.schema import root_id
from pipeline.manifest import compaction
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import pending as manifest_pending
from pipeline.run import lease, ledger, termination
from pipeline.run.attempts import record
from pipeline.run.chain import chain
from pipeline.run.prepare import RunError
from pipeline.storage import local_disk
from pipeline.storage.output import Output
from pipeline.weights.local import weights_folder

COMPACT_EVERY = 8000  # photos: about a thousand parts, which a reader opens in a second or two


@dataclass
class Progress:
    """What this attempt has done so far."""

    total: int
    done: int = 0
    faces: int = 0
    failed: int = 0
    begun: float = field(default_factory=time.monotonic)

    def add(self, done: pa.Table) -> None:
        self.done += sum(
            root_id(photo_id) == photo_id for photo_id in done["photo_id"].to_pylist()
        )  # a member counts once
        self.faces += sum(done["face_count"].to_pylist())
        self.failed += done["status"].to_pylist().count("failed")


def restore(job: Job, resources: Resources, where: str | None = None) -> Iterator[Progress]:
    """Restore what is in the index of a run and not in its manifest; yields after each committed part.

    With `where`, what `manifest.pending` makes of it. Start it again to continue: rows that are committed are done.
    Raises RunError when rows are missing in the end or SIGTERM stopped the run, StorageError when storage fails for
    all photos alike, LeaseError when another run works on the same OUTPUT.
    """
    with lease.held(job.output) as mine:
        remove_leftovers(job.output)
        pending = manifest_pending.pending(job.output, where)
        progress = Progress(total=len(pending))
        yield progress
        if len(pending):
            resources = resources.with_finders(job.settings.detector, cluster.gpus())
            record(job, resources)
            book = ledger.ledger()
            compacted = 0
            with termination.heeded(lambda: book.stop.remote(), job.output) as stopping:
                size = int(weights_index.read_index(weights_folder(job.settings))["image_size"])
                stages = chain(pending, job, size, resources, book)
                for done in stages.iter_batches(batch_size=None, batch_format="pyarrow"):
                    progress.add(done)
                    mine.check()
                    yield progress
                    if progress.done - compacted >= COMPACT_EVERY and not stopping.is_set():
                        compacted = progress.done
                        compaction.compact_if_many(job.output)
            if stopping.is_set():
                left = progress.total - progress.done
                raise RunError(f"{job.output}: stopped, {left} photos are left; start the same command again")
        compaction.compact_if_many(job.output)
    if progress.done != progress.total:
        lost = progress.total - progress.done
        raise RunError(f"{job.output}: {lost} photos were started but not finished; start the same command again")


def remove_leftovers(output: str) -> None:
    """Delete half-written files of earlier attempts whose writers were killed. The caller holds the lease."""
    if Path(output).is_dir():  # on object storage nothing appears half
        began = Path(Output(output).lease).stat().st_mtime
        local_disk.remove_temporaries(output, before=began)


def audit(output: str, partial: bool = False) -> manifest_counts.Counts:
    """The counts of a run. RunError when an index row has no manifest row, or the numbers do not add up.

    `partial`: only some photos were asked for, so others may be pending.
    """
    counts = manifest_counts.counts(output)
    if counts.pending and not partial:
        raise RunError(f"{output}: {counts.pending} photos are still pending; start the same command again")
    if not counts.adds_up:
        raise RunError(f"{output}: the numbers do not add up; see interlcm status {output}")
    return counts
