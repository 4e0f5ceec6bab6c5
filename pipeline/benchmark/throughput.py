"""How near the chain of stages comes to the full speed of its restore actors, with stand-ins for what needs a GPU."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from interlcm import weights_index
from pipeline import storage
from pipeline.benchmark.stand_in import Call, PlacedFaces, TimedRestore, Timesheet
from pipeline.cluster import connect as cluster
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.manifest import pending as manifest_pending
from pipeline.manifest import query
from pipeline.manifest.schema import STAGES
from pipeline.run import ledger, on_ray
from pipeline.run.batching import batches
from pipeline.run.chain import chain
from pipeline.storage import client as storage_client

SETTLED = 40.0  # seconds in which a run's metrics reach the nodes that export them; Ray sends them every ten


@dataclass(frozen=True)
class Measured:
    """One run over an index. Times are seconds of one clock.

    begun, ended: from working out what remains to the last committed row. ideal: faces per second of actors that never
    wait and have full micro-batches. calls: of the restore stage. counted: what the run added to the metrics. stats:
    Ray Data's account of its operators.
    """

    begun: float
    ended: float
    photos: int
    ideal: float
    micro_batches: list[Call]
    calls: list[Call]
    counted: dict[str, float]
    stats: str

    @property
    def faces(self) -> int:
        return sum(call.faces for call in self.micro_batches)

    @property
    def fill(self) -> float:
        """Share of the places in micro-batches that held a face."""
        return self.faces / sum(call.places for call in self.micro_batches)

    @property
    def actors(self) -> set[int]:
        return {call.actor for call in self.calls}

    @property
    def window(self) -> tuple[float, float]:
        """From the time when the last actor got its first photos to the time when the first actor finished its last."""
        first = [min(call.begun for call in self.calls if call.actor == actor) for actor in self.actors]
        last = [max(call.ended for call in self.calls if call.actor == actor) for actor in self.actors]
        return max(first), min(last)

    def share(self, calls: Sequence[Call]) -> float:
        """The share of the window that the actors spent in these."""
        begin, end = self.window
        spent = sum(max(0.0, min(call.ended, end) - max(call.begun, begin)) for call in calls)
        return spent / ((end - begin) * len(self.actors))

    @property
    def whole(self) -> float:
        """Faces of the whole run, from its start to its end, as a share of the ideal."""
        return self.faces / ((self.ended - self.begun) * self.ideal)

    def expected(self, photos: int) -> float:
        """The same for a run of `photos` photos: start-up and end take as long, the time between them grows."""
        faces = self.faces * photos / self.photos
        fixed = (self.ended - self.begun) - self.faces / (self.ideal * self.steady)
        return faces / ((fixed + faces / (self.ideal * self.steady)) * self.ideal)

    @property
    def steady(self) -> float:
        """Faces per second in the window as a share of the ideal."""
        return self.share(self.micro_batches) * self.fill


def measure(output: str, resources: Resources, seconds: float, size: int) -> Measured:
    """Restore the index of OUTPUT with stand-in models that take `seconds` for each micro-batch.

    size: of the crops, px. Ray has to be running.
    """
    done: Any
    before = telemetry.totals()
    begun, photos = time.time(), 0
    dataset, sheet = stand_in_run(output, resources, size, seconds)
    for done in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        photos += done.num_rows
    ended = time.time()
    ideal = resources.max_actors * resources.batch_faces / seconds
    micro_batches, calls = ray.get([sheet.micro_batches.remote(), sheet.calls.remote()])
    return Measured(begun, ended, photos, ideal, micro_batches, calls, counters(before, photos), dataset.stats())


def stand_in_run(output: str, resources: Resources, size: int, seconds: float) -> tuple[ray.data.Dataset, Any]:
    """The lazy dataset of a run over the index of OUTPUT with stand-ins, and the Timesheet that they keep."""
    job, sheet = stand_in_job(output), ray.remote(num_cpus=0)(Timesheet).remote()
    pending = manifest_pending.pending(job.output)
    resources = resources.with_detectors(job.settings.detector, cluster.cpus(), cluster.gpus(), cluster.joined())
    sizes, resources = batches(pending, size, resources)
    fetch, detect, restore, publish = chain(job, resources, sizes)
    detect = replace(detect, make=PlacedFaces, arguments=(job, size))
    restore = replace(restore, make=TimedRestore, arguments=(job, resources, seconds, sheet))
    return on_ray.dataset(
        (fetch, detect, restore, publish), pending, resources, sizes, ledger.book(resources.max_actors)
    ), sheet


def counters(before: dict[str, float], photos: int) -> dict[str, float]:
    """What the run added to the metrics, once they count all photos."""
    end = time.monotonic() + SETTLED
    while True:
        gained = {name: value - before.get(name, 0.0) for name, value in telemetry.totals().items()}
        if gained.get("interlcm_photos", 0) >= photos or time.monotonic() > end:
            return gained
        time.sleep(1)


def stand_in_job(output: str) -> Job:
    """A job without a weights folder."""
    return Job(
        settings=Settings(mask="ellipse", detector="placed"),
        output=storage.canonical(output),
        attempt=uuid.uuid4().hex,
        weights_digest="",
        software_version="",
        environment=Environment(storage_client.environment()),
        weights_index=weights_index.empty_index(),
    )


def row(of: Measured, resources: Resources) -> dict[str, Any]:
    """The row of one run in the table of shares."""
    return {
        "actors": resources.max_actors,
        "photos": of.photos,
        "faces": of.faces,
        "ideal, faces/s": of.ideal,
        "after warm-up %": 100 * of.steady,
        "whole run %": 100 * of.whole,
        "10,000 photos %": 100 * of.expected(10_000),
        "micro-batch fill %": 100 * of.fill,
        "read / members": of.counted.get("interlcm_read_bytes", 0) / of.counted.get("interlcm_bytes", 1),
        "decodes/photo": of.counted.get("interlcm_decodes", 0) / of.photos,
    }


def rest(of: Measured, resources: Resources) -> dict[str, Any]:
    """Where the rest of the time goes: the actors' time in the window, and start and end."""
    inside, calls = of.share(of.micro_batches), of.share(of.calls)
    return {
        "actors": resources.max_actors,
        "in the model %": 100 * inside,
        "of it padding %": 100 * inside * (1 - of.fill),
        "around the model %": 100 * (calls - inside),
        "waiting for photos %": 100 * (1 - calls),
        "first photos after s": min(call.begun for call in of.calls) - of.begun,
        "all actors busy after s": of.window[0] - of.begun,
        "first actor idle to end s": of.ended - of.window[1],
    }


# One operator: its name and, if it ran tasks of its own, their number.
_OPERATOR = re.compile(r"^Operator \d+ (.+?): (?:(\d+) tasks executed)?", re.MULTILINE)
_TOTAL = r"\* Remote {} time: .* ([\d.]+)(us|ms|s) total"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def operators(stats: str) -> list[dict[str, Any]]:
    """Ray Data's account of its operators, as rows: tasks, their seconds with waiting, and their CPU seconds."""
    parts = _OPERATOR.split(stats)[1:]
    rows = []
    for name, tasks, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        times = [re.search(_TOTAL.format(kind), text) for kind in ("wall", "cpu")]
        wall, cpu = (float(time[1]) * _UNITS[time[2]] if time else None for time in times)
        rows.append({"operator": name, "tasks": int(tasks) if tasks else None, "wall s": wall, "CPU s": cpu})
    return rows


def stages(output: str) -> list[dict[str, Any]]:
    """Seconds that one photo takes in each stage, waiting for processors included."""
    columns = ", ".join(f"median(seconds_{s}) AS {s}, quantile_cont(seconds_{s}, 0.95) AS {s}_95" for s in STAGES)
    (found,) = query.reading(
        output, lambda connection: query.run(connection, f"SELECT {columns} FROM photos")
    ).to_pylist()
    return [{"stage": s, "median s": found[s], "95% below s": found[f"{s}_95"]} for s in STAGES]
