"""Restore photos of a run again, in this process, and compare them with the published ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from interlcm.weights_index import WeightsError, read_index
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest import query
from pipeline.photos.errors import PhotoError
from pipeline.run.attempts import AttemptsError, attempt_with
from pipeline.run.verdicts import shown
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.detect import DetectFaces
from pipeline.stages.fetch import fetch
from pipeline.stages.publish import composed
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Row
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output
from pipeline.verify.files import VerifyError
from pipeline.verify.likeness import ROUNDING, difference
from pipeline.weights.local import weights_folder

MADE_WITH = ("settings_digest", "weights_digest", "software_version", "attempt")
# The newest row of each photo with its faces, and its index row.
ROWS = """
SELECT newest.*, i.archive_name FROM newest JOIN index i ON i.photo_id = newest.index_id
WHERE newest.status = 'restored' ORDER BY newest.photo_id
"""


@dataclass(frozen=True)
class Replayed:
    """outcome: "same bytes", "same pixels" (but for rounding), "differs" or "not replayed"; words: how much, or why."""

    uri: str
    outcome: str
    words: str = ""

    @property
    def good(self) -> bool:
        return self.outcome.startswith("same")


def replay(output: str, count: int, seed: int) -> Iterator[Replayed]:
    """Restore `count` restored photos, chosen by `seed`, again with their own settings.

    Nothing is written. Raises StorageError if there is no run at OUTPUT.
    """
    output = storage.canonical(output)
    for _, group in groupby(sorted(chosen(output, count, seed), key=made_with), key=made_with):
        rows = list(group)
        try:
            job, resources = job_of(output, rows[0])
            job = replace(job, verdicts={one["photo_id"]: shown(one) for one in rows})
            stages = DetectFaces(job, resources.find_device), RestoreFaces(job, resources)
        except (VerifyError, AttemptsError, WeightsError, storage.StorageError) as error:
            yield from (Replayed(one["restored_uri"], "not replayed", str(error)) for one in rows)
            continue
        for one in rows:
            yield replayed(one, job, *stages)


def chosen(output: str, count: int, seed: int) -> list[Row]:
    """The manifest rows of `count` photos."""
    with query.connect(output) as connection:
        rows = query.run(connection, ROWS).to_pylist()
    return random.Random(seed).sample(rows, min(count, len(rows)))


def made_with(made: Row) -> tuple[str, ...]:
    return tuple(str(made[name]) for name in MADE_WITH)


def job_of(output: str, made: Row) -> tuple[Job, Resources]:
    """The attempt that made a row, from run.json. Raises VerifyError or AttemptsError."""
    attempt = attempt_with(output, made["settings_digest"], made["weights_digest"], made["attempt"])
    if attempt is None:
        raise VerifyError(f"{output}/run.json: no attempt with settings {made['settings_digest'][:12]}")
    job = Job(
        settings=Settings.from_dict(attempt["settings"]),
        output=output,
        attempt=attempt["attempt"],
        weights_digest=made["weights_digest"],
        software_version=made["software_version"],
        environment=Environment(storage_client.environment()),
        weights_index=read_index(weights_folder(attempt["settings"]["weights"])),
    )
    then, gpus = attempt["resources"], 1.0 if torch.cuda.is_available() else 0.0
    # Face positions repeat exactly only on one kind of device, and faces only in networks compiled alike. Where a run's
    # compiler failed, it fails here, too.
    found, compiled = min(gpus, then.get("find_gpus", 0.0)), then.get("compiled", False)
    faces, threads = then["batch_faces"], cluster.cores()
    return job, Resources(gpus_per_actor=gpus, batch_faces=faces, threads=threads, find_gpus=found, compiled=compiled)


def replayed(made: Row, job: Job, find: DetectFaces, restore: RestoreFaces) -> Replayed:
    uri = Output(job.output).now(made["restored_uri"], made["archive_name"])
    try:
        published = storage.read_bytes(uri)
        current = again(made, job, find, restore)
        built = composed(current, job)
        if built.data == published:
            return Replayed(uri, "same bytes")
        exact = composed(current, replace(job, settings=replace(job.settings, format="tiff")))
        scale = job.settings.upscale
        boxes = [[edge * scale for edge in found["box"]] for found in made["faces"]]
        limits = replace(job.settings.limits, pixels=job.settings.limits.pixels * scale**2)
        apart = sandbox.run(difference, published, built.data, exact.data, boxes, limits, limits=limits)
    except (VerifyError, PhotoError, storage.StorageError) as error:
        return Replayed(uri, "not replayed", str(error))
    words = f"{max(apart, 0):.2f} of 255 beyond the format's own loss"
    return Replayed(uri, "same pixels" if apart <= ROUNDING else "differs", words)


def again(made: Row, job: Job, find: DetectFaces, restore: RestoreFaces) -> Row:
    """The row of this photo before the last stage. Raises VerifyError."""
    with query.connect(job.output) as connection:
        unit = query.run(connection, f"SELECT * FROM index WHERE photo_id = '{made['index_id']}'").cast(INDEX_SCHEMA)
    rows = [one for table in fetch(unit, job) for found in find(table) for one in found.to_pylist()]
    current = next((one for one in rows if one["photo_id"] == made["photo_id"]), rows[0])
    if current["sha256"] not in (None, made["sha256"]):
        raise VerifyError(f"{made['member']}: the source has changed since it was restored")
    if current["status"] is not None:
        raise VerifyError(f"{made['member']}: now {current['status']}: {current['error'] or 'no face was found'}")
    (restored,) = restore(row.to_table([current])).to_pylist()
    return dict(restored)


def check_same(replays: list[Replayed], output: str) -> None:
    """Raises VerifyError if a photo did not come out as it was published, or could not be restored again."""
    differ = sum(one.outcome == "differs" for one in replays)
    missed = sum(one.outcome == "not replayed" for one in replays)
    if differ:
        words = "compare versions and settings in run.json; sources and weights must be those of the run"
        raise VerifyError(f"{output}: {differ} of {len(replays)} photos did not come out the same; {words}")
    if missed:
        words = "bring back its source and weights"
        raise VerifyError(f"{output}: {missed} of {len(replays)} photos could not be restored again; {words}")
