"""How near the chain of stages comes to what its restore actors could do, with stand-ins for what needs a GPU."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

import ray

from pipeline import in_flight, manifest, run, storage
from pipeline.benchmark.stand_in import Call, PlacedFaces, TimedRestore, Timesheet
from pipeline.settings import Environment, Job, Resources, Settings

BATCH_FACES = 8


@dataclass(frozen=True)
class Measured:
    """One run over an index. Times are seconds of one clock.

    begun, ended: from the question what is left to do to the last committed row. photos: as they were committed: time
    and number. stats: what Ray Data says of its operators.
    """

    actors: int
    seconds: float
    begun: float
    ended: float
    photos: int
    calls: list[Call]
    stats: str

    @property
    def faces(self) -> int:
        return sum(call.faces for call in self.calls)

    @property
    def fill(self) -> float:
        """Share of the places in micro-batches that held a face."""
        return self.faces / sum(call.places for call in self.calls)

    @property
    def ideal(self) -> float:
        """Faces per second of actors that never wait and have full micro-batches."""
        return self.actors * BATCH_FACES / self.seconds

    @property
    def warm(self) -> float:
        """When the last actor began."""
        return max(min(call.begun for call in self.calls if call.actor == actor) for actor in self.workers)

    @property
    def drained(self) -> float:
        """When the first actor had nothing more to do."""
        return min(max(call.ended for call in self.calls if call.actor == actor) for actor in self.workers)

    @property
    def workers(self) -> set[int]:
        return {call.actor for call in self.calls}

    @property
    def steady(self) -> float:
        """Faces per second between these two; micro-batches count by their share inside."""
        length = self.drained - self.warm
        return sum(call.faces * self.inside(call) for call in self.calls) / length if length > 0 else float("nan")

    @property
    def busy(self) -> float:
        """Share of that time in which an actor had a micro-batch in hand, however full."""
        length = (self.drained - self.warm) * len(self.workers)
        return sum((call.ended - call.begun) * self.inside(call) for call in self.calls) / length

    def inside(self, call: Call) -> float:
        shared = min(call.ended, self.drained) - max(call.begun, self.warm)
        return max(0.0, shared / (call.ended - call.begun))


def measure(output: str, actors: int, seconds: float, size: int) -> Measured:
    """Restore what the index of OUTPUT holds, with `actors` stand-in models that take `seconds` for a micro-batch."""
    job = stand_in_job(output)
    resources = Resources(actors, actors, batch_faces=BATCH_FACES)
    sheet: Any = ray.remote(num_cpus=0)(Timesheet).remote()
    done: Any
    begun, photos = time.time(), 0
    dataset = run.chain(
        manifest.pending(job.output),
        job,
        resources,
        in_flight.ledger(),
        find=(PlacedFaces, (job, size)),
        restore=(TimedRestore, (job, resources, seconds, sheet)),
    )
    for done in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        photos += done.num_rows
    ended = time.time()
    return Measured(actors, seconds, begun, ended, photos, ray.get(sheet.calls.remote()), dataset.stats())


def stand_in_job(output: str) -> Job:
    """A job that no weights folder belongs to."""
    return Job(
        settings=Settings(mask="ellipse", detector="placed"),
        output=storage.canonical(output),
        attempt=uuid.uuid4().hex,
        weights_digest="",
        software_version="",
        environment=Environment(storage.environment()),
    )


def row(of: Measured) -> dict[str, Any]:
    """What the table says of one run."""
    whole = of.ended - of.begun
    return {
        "actors": of.actors,
        "micro-batch s": of.seconds,
        "photos": of.photos,
        "faces": of.faces,
        "ideal faces/s": of.ideal,
        "after warm-up %": 100 * of.steady / of.ideal,
        "busy %": 100 * of.busy,
        "fill %": 100 * of.fill,
        "first face after s": min(call.begun for call in of.calls) - of.begun,
        "all actors after s": of.warm - of.begun,
        "whole run %": 100 * of.faces / whole / of.ideal,
    }
