"""A run from sources to counts: what `interlcm restore` and `interlcm demo` do once their options are read."""

import itertools
import math
from collections import deque
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from interlcm.weights_index import DEMO
from jobs import credentials
from jobs.cost import expected
from jobs.counted import counted
from jobs.index import index_line
from jobs.lines import Lines
from jobs.meanwhile import meanwhile
from jobs.options import Engine
from jobs.plan import RAY_ARCHIVES, in_words_of, on_this_machine, plan, ray_from
from jobs.progress import show
from jobs.status import equation, failures
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.resources import Prices, Resources
from pipeline.config.secrets import Signing
from pipeline.config.settings import Settings
from pipeline.index.build import IndexSummary
from pipeline.index.copies import Index
from pipeline.index.sources import expand
from pipeline.manifest.pending import check_where
from pipeline.manifest.query import QueryError
from pipeline.run import attempt, attempts, lease, prepare
from pipeline.run.batching import ACTOR_PHOTOS, driver_photos
from pipeline.run.rescan import scan
from pipeline.run.verdicts import heeding

if TYPE_CHECKING:
    from pipeline.run.estimate import Estimate


@dataclass(frozen=True)
class Request:
    """A user's request for a run.

    Attributes:
        sources, output, settings: the photos, the run's folder, and how to restore.
        actors: least and most restore actors; (0, 0): one for each GPU, or one on the CPU.
        gpus_per_actor: 0 for the CPU; None: 1 if there are GPUs.
        batch_faces: faces of a micro-batch on a GPU; None: as many as fit, up to 32.
        where: SQL condition; only photos that match.
        keys: files of the C2PA key and its certificate chain.
        dry_run: index, estimate, restore nothing.
        engine: where the stages run; auto: on Ray for a cluster, several actors or many photos.
        as_json: print objects instead of lines.
        prices: of an hour of a GPU and of a CPU, for a dry run.
        detect_gpus: GPUs for RetinaFace detectors; None: those that restore actors leave free.
        zip_names: code page of names in zips that do not say theirs; empty: UTF-8 or code page 437.
        drivers: processes that each drive the stages for a share of the photos, on Ray.
    """

    sources: list[str]
    output: str
    settings: Settings
    actors: tuple[int, int] = (0, 0)
    gpus_per_actor: float | None = None
    batch_faces: int | None = None
    where: str | None = None
    keys: tuple[Path, Path] | None = None
    dry_run: bool = False
    engine: Engine = "auto"
    as_json: bool = False
    zip_names: str = ""
    prices: Prices | None = None
    detect_gpus: int | None = None
    drivers: int = 1


def run(request: Request) -> int:
    """Index, restore, audit; prints progress and results, returns the number of failed photos."""
    lines, where, output = Lines(request.as_json), request.where, request.output
    # Report wrong weights, keys, settings and sources before the seconds that Ray and its imports take.
    lines.say("start", "checking sources, weights and settings")
    if not output or not all(request.sources):
        raise typer.BadParameter("a source or --output is empty; is a variable of the shell unset?")
    if where is not None:
        try:
            check_where(where)
        except QueryError as error:
            raise typer.BadParameter(f"--where: {error}") from error
    if request.engine == "here" and request.drivers > 1:
        raise typer.BadParameter(f"--drivers {request.drivers}: --engine here has no drivers; leave one of them out")
    with meanwhile(lines, "checking"):
        found = expand(request.sources, storage.canonical(output), partial(lines.say, "note"))
        job = prepare.prepare(output, request.settings, signing_of(request.keys))
        prepare.check_links(job, found)
        attempts.check_names(job)
    much = cluster.joined() or len(found) >= RAY_ARCHIVES
    if request.engine == "ray" or (request.engine == "auto" and much):
        cluster.connect(request.actors[1] or 1, request.drivers)
    resources = plan(request.actors, request.gpus_per_actor, request.batch_faces, request.detect_gpus, request.drivers)
    photos, reason = ray_from(request.engine, resources)
    job = prepare.with_dtype(job, resources)
    with lease.held(job.output) as mine:
        with meanwhile(lines, "indexing"):
            indexed = scan(found, job.output, request.settings.limits, request.zip_names)
        say_index(lines, indexed)
        lines.say("actors", f"actors: {in_words_of(resources)}")
        sent = credentials.notes() if cluster.joined() else []
        coming = [*to_come(resources), *slow_detector(resources, job.settings.detector)]
        for words in [*weak_defaults(job.settings), *other_settings(job), *coming, *sent]:
            lines.say("note", f"note: {words}")
        if request.dry_run:
            lines.say("dry_run", "dry run: restoring a sample")
            with meanwhile(lines, "restoring a sample"):
                found_cost = estimate_of(job, resources, where, photos, indexed.index)
            gpu_hours = {"restore": found_cost.restore_gpu_hours(resources), "detect": found_cost.detect_gpu_hours}
            words = expected(found_cost, resources, request.prices)
            lines.say("estimate", words, **asdict(found_cost), gpu_hours=gpu_hours)
            for words in credentials.too_short(found_cost.hours(resources.max_actors)):
                lines.say("note", f"note: {words}")
            return 0
        if where is not None:
            job, where, left_out = heeding(job, where)
            if left_out:
                words = "photos with decisions that would come out as they were judged, and are left out"
                lines.say("note", f"note: {words}: {left_out}; choose other settings, or see interlcm decide")
        steps = attempt.restore(job, resources, mine, where, photos, partial(lines.say, "note"), indexed.index)
        first = next(steps)
        if first.total:
            reason = reason or f"{counted(first.total, 'file')} on {on_this_machine(photos)}"
            lines.say("engine", f"engine: {'Ray' if first.on_ray else 'this process'} ({reason})")
            for words in [*compiling(resources, first.total), *drivers_to_give(resources, indexed)]:
                lines.say("note", f"note: {words}")
            steps = itertools.chain([first], steps)
            if any(uri.startswith(("s3://", "s3a://")) for uri in [job.output, *request.sources]):
                steps = credentials.heeded(steps, partial(lines.say, "note"))
            show(steps, lines)
        else:
            lines.say("note", "nothing to do: every selected photo has a result")
            deque(steps, maxlen=0)  # an attempt that was killed may have left small parts to merge
    counts = attempt.audit(output, partial=where is not None)
    last = f"faces restored: {counts.faces}; next: interlcm status {quote(output)}"
    lines.say("end", "\n".join([equation(counts), *failures(output, counts), last]), **asdict(counts))
    return counts.failed


def say_index(lines: Lines, found: IndexSummary) -> None:
    numbers = {"members": found.members, "files": found.photos, "bytes": found.bytes, "errors": found.errors}
    for words in found.notes:
        lines.say("note", f"note: {words}")
    lines.say("index", f"index: {index_line(found)}", **numbers, changed=len(found.changed), gone=len(found.gone))


def estimate_of(job: Job, resources: Resources, where: str | None, ray_from: float, index: Index) -> "Estimate":
    from pipeline.run.estimate import estimate  # brings torch

    return estimate(job, resources, where, ray_from, index)


def weak_defaults(settings: Settings) -> list[str]:
    """Notes on defaults for which there is a better choice, one line each."""
    notes = []
    if settings.weights == DEMO:
        notes.append("the demo weights are only a demonstration; the published ones: interlcm weights pull weights")
    if settings.detector == "haar":
        notes.append("Haar cascades miss turned and small faces; for YuNet: interlcm weights pull weights")
    return notes


def to_come(resources: Resources) -> list[str]:
    """A note if the cluster cannot yet do what was asked."""
    if not cluster.running() or resources.gpus_per_actor <= (gpus := cluster.gpus()):
        return []
    return [f"GPUs in the cluster now: {gpus:g}; the run waits for nodes that have them"]


def slow_detector(resources: Resources, detector: str) -> list[str]:
    """A note if RetinaFace has no GPU on a cluster with GPUs, which may all be still to come."""
    if not (detector.startswith("retinaface") and cluster.joined() and resources.gpus_per_actor):
        return []
    if attempt.with_detectors(resources, detector, on_ray=True).find_gpus:
        return []
    return [
        f"GPUs that restore actors leave free now: 0; {detector} works on CPUs in the whole run, half a minute for a "
        "photo; for GPUs that are still to come give --detect-gpus N"
    ]


def drivers_to_give(resources: Resources, found: IndexSummary) -> list[str]:
    """A note if the drivers cannot keep up with all actors on GPUs."""
    mean = found.bytes / max(1, found.photos)
    most, actors = driver_photos(mean, resources.gpus_per_actor), resources.max_actors
    wanted = math.ceil(actors * ACTOR_PHOTOS / most)
    if not resources.gpus_per_actor or wanted <= resources.drivers:
        return []
    return [
        f"a driver follows about {most:,.0f} photos/s of {mean / 1e6:.1f} MB, enough for {most / ACTOR_PHOTOS:.0f} "
        f"fast GPUs; for {actors} of them give --drivers {wanted}"
    ]


def compiling(resources: Resources, files: int) -> list[str]:
    """A note if the actors begin with minutes without a face."""
    if not resources.with_compiler(files).compiled:
        return []
    return ["a long run: each node compiles the model first, which takes minutes; warnings are in worker-*.err"]


def other_settings(job: Job) -> list[str]:
    """A note if the last attempt had other settings or weights: the results that it left stay as they are."""
    found = attempts.differences(job)
    if not found:
        return []
    condition = f"settings_digest NOT LIKE '{job.settings.digest()[:12]}%' OR weights_digest NOT LIKE "
    condition += f"'{job.weights_digest[:12]}%'"
    return [
        f"the last attempt had other settings ({', '.join(found)}); its results stay as they are; to restore those "
        f'photos again: --where "{condition}"'
    ]


def signing_of(keys: tuple[Path, Path] | None) -> Signing | None:
    """A tested signer with key and certificate chain. Raises SigningError."""
    if keys is None:
        return None
    from pipeline.provenance.signing import load_signing

    return load_signing(*keys)
