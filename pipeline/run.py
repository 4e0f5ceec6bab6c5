"""A whole run: what is left to do, the chain of stages that does it, and the audit at the end."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from interlcm import weights_index
from pipeline import cluster, compaction, in_flight, lease, local_disk, manifest, storage, storage_client, termination
from pipeline.detect import load_detector
from pipeline.fetch import fetch
from pipeline.find import FindFaces
from pipeline.flow import Flow
from pipeline.in_flight import Isolated, Work, isolated
from pipeline.pending import Pending, load
from pipeline.provenance import Signing
from pipeline.settings import Environment, Job, Resources, Settings, weights_folder

COMPACT_EVERY = 8000  # photos: about a thousand parts, which a reader opens in a second or two
PACKAGES = ("interlcm", "ray", "torch", "diffusers", "transformers", "pyarrow", "pyvips", "opencv-python")


Actor = tuple[Callable[..., Work], tuple[Any, ...]]  # a stage's class and what its constructor takes


class RunError(Exception):
    """A run cannot start or did not do all of its work: one line with the remedy."""


@dataclass
class Progress:
    """What this attempt has done so far."""

    total: int
    done: int = 0
    faces: int = 0
    failed: int = 0
    begun: float = field(default_factory=time.monotonic)

    def add(self, done: pa.Table) -> None:
        self.done += sum("-p" not in photo_id for photo_id in done["photo_id"].to_pylist())  # further pages: find.py
        self.faces += sum(done["face_count"].to_pylist())
        self.failed += done["status"].to_pylist().count("failed")


def restore(job: Job, resources: Resources, where: str | None = None) -> Iterator[Progress]:
    """Restore what the index of a run has and its manifest has not; yields after each committed part.

    With `where`, what `manifest.pending` makes of it. Start it again to continue: rows that are committed are done.
    Raises RunError when rows are missing in the end or SIGTERM stopped the run, StorageError when storage fails for
    all photos alike, LeaseError when another run works on the same OUTPUT.
    """
    with lease.held(job.output) as mine:
        remove_leftovers(job.output)
        pending = manifest.pending(job.output, where)
        progress = Progress(total=len(pending))
        yield progress
        if len(pending):
            resources = resources.with_finders(job.settings.detector, cluster.gpus())
            record(job, resources)
            book = in_flight.ledger()
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
        raise RunError(f"{job.output}: {lost} photos went in and did not come out; start the same command again")


def chain(
    pending: Pending,
    job: Job,
    size: int,
    resources: Resources,
    book: Any,
    find: Actor | None = None,
    restore: Actor | None = None,
) -> ray.data.Dataset:
    """places of index rows -> bytes -> aligned crops -> restored crops -> published photos and manifest parts.

    size: of the crops, px. book: an `in_flight.ledger`, in which the stages note what they have in hand. find, restore:
    the actors of the second and the third stage, when others are meant than those of a run: a benchmark has stand-ins.
    """
    from pipeline.restore import RestoreFaces  # here: workers of other stages import this module and need no torch

    # Plans, progress, and each error of a worker twice, with all its frames, before it arrives as an exception.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    flow = Flow.of(pending, size, resources)
    context.target_max_block_size = flow.block_bytes
    context.raise_original_map_exception = True  # so that a StorageError arrives as one, not as a text about it
    actors = ActorPoolStrategy(min_size=resources.min_actors, max_size=resources.max_actors)
    most = ray.cluster_resources().get("CPU", 1) / 2
    if resources.find_gpus:
        most = min(most, resources.spare_gpus(cluster.gpus()) / resources.find_gpus)
    finders = ActorPoolStrategy(min_size=1, max_size=max(1, int(most)))
    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    # As Ray types a function, it takes a batch alone; what fn_kwargs adds it cannot know.
    read: Any = fetch_open
    publish: Any = publish_open
    # One block = one unit, cut by a task: the driver would take minutes. By itself that task asks for a whole CPU, and
    # Ray has no option for it: where two CPUs are left of a cluster, the actors have all but half of one.
    units = ray.data.from_arrow(pending.units(resources.max_actors)).repartition(target_num_rows_per_block=1)
    cut: Any = units._logical_plan.dag
    cut.ray_remote_args["num_cpus"] = 0
    return (
        units.map_batches(read, batch_size=None, num_cpus=0.25, fn_kwargs={"job": job, "book": book}, **arrow)
        .map_batches(
            Isolated,
            batch_size=1,
            num_cpus=0.5,
            num_gpus=resources.find_gpus,
            compute=finders,
            fn_constructor_args=(*(find or (FindFaces, (job, resources.find_device))), book),
            **arrow,
        )
        .map_batches(
            Isolated,
            batch_size=flow.call_photos,
            num_cpus=1,
            num_gpus=resources.gpus_per_actor,
            compute=actors,
            fn_constructor_args=(*(restore or (RestoreFaces, (job, resources))), book),
            **arrow,
        )
        .map_batches(
            publish,
            batch_size=flow.part_photos,
            num_cpus=0.5,
            fn_kwargs={"job": job, "book": book},
            **arrow,
        )
    )


def fetch_open(units: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`fetch` of the index rows of units, until the run is to stop."""
    job.environment.use()
    for unit in units.to_pylist():
        for table in fetch(load(unit, job.output), job):
            if ray.get(book.stopping.remote()):
                return
            yield table


def publish_open(table: pa.Table, job: Job, book: Any) -> Iterator[pa.Table]:
    """`compose`, with the ledger kept; what is restored is published even when the run is to stop."""
    from pipeline.compose import compose  # here: it brings SciPy, a second that every process of the others would take

    return isolated(table, partial(compose, job=job), "compose", book, last=True)


def remove_leftovers(output: str) -> None:
    """Delete half-written files of earlier attempts, whose writers were killed. The lease is held."""
    if Path(output).is_dir():  # on object storage nothing appears half
        began = Path(output, lease.NAME).stat().st_mtime
        local_disk.remove_temporaries(output, before=began)


def prepare(output: str, settings: Settings, signing: Signing | None = None) -> Job:
    """Check weights and settings before anything is started, and settle what "auto" means.

    Raises RunError, StorageError, WeightsError or DetectorError.
    """
    folder = weights_folder(settings)
    settings = settled(settings, folder, signing is not None)
    problems = weights_index.verify(folder, settings.variant)
    if problems:
        raise weights_index.WeightsError(problems[0])
    return Job(
        settings=settings,
        output=storage.canonical(output),
        attempt=uuid.uuid4().hex,
        weights_digest=weights_index.digest(folder, settings.variant),
        software_version=version("interlcm"),
        environment=Environment(storage_client.environment()),
        signing=signing,
    )


def settled(settings: Settings, folder: Path, signed: bool) -> Settings:
    """The settings with every choice made that was left open, checked against what the weights folder has."""
    from pipeline import background, judge  # here: they bring torch, which takes seconds

    variant, steps = chosen_variant(settings, folder)
    detector = "none" if settings.aligned else load_detector(settings.detector, folder / "face").name
    mask = settings.mask
    if mask == "auto":
        mask = "parsenet" if judge.has_parser(folder / "face") else "ellipse"
    if settings.background == "realesrgan":
        background.weights_file(folder, settings.upscale)  # raises where it is missing
    color_fix = "none" if settings.task == "colorize" else settings.color_fix  # the input has no colour to give back
    return replace(
        settings, variant=variant, steps=steps, detector=detector, mask=mask, color_fix=color_fix, signed=signed
    )


def with_dtype(job: Job, resources: Resources) -> Job:
    """The job with `dtype` settled: bfloat16 on GPUs, float32 on CPUs. Raises RunError."""
    dtype, on_gpu = job.settings.dtype, resources.gpus_per_actor > 0
    if dtype == "auto":
        dtype = "bfloat16" if on_gpu else "float32"
    if dtype == "float16" and not on_gpu:
        raise RunError("--dtype float16 takes a GPU: on a CPU it is many times slower; use float32 or bfloat16")
    return replace(job, settings=replace(job.settings, dtype=dtype))


def chosen_variant(settings: Settings, folder: Path) -> tuple[str, int]:
    """The variant asked for, or the one that serves the task and the steps best; and the steps."""
    variants = weights_index.read_index(folder)["variants"]
    if settings.variant and settings.variant not in variants:
        raise RunError(f"{settings.weights}: no variant {settings.variant}; it has {', '.join(variants)}")
    names = [settings.variant] if settings.variant else list(variants)
    for_task = [name for name in names if variants[name]["task"] == settings.task]
    if not for_task:
        tasks = ", ".join(sorted({variants[name]["task"] for name in names}))
        raise RunError(f"--task {settings.task}: {settings.weights} is made for {tasks}; name weights for it")
    if not settings.steps:
        most = max(for_task, key=lambda name: max(variants[name]["steps"]))
        return most, max(variants[most]["steps"])
    serving = [name for name in for_task if settings.steps in variants[name]["steps"]]
    if not serving:
        allowed = ", ".join(map(str, sorted({n for name in for_task for n in variants[name]["steps"]})))
        raise RunError(f"--steps {settings.steps}: the weights for {settings.task} are made for {allowed}")
    # One that was trained for this number of steps alone knows it best.
    return min(serving, key=lambda name: len(variants[name]["steps"])), settings.steps


def record(job: Job, resources: Resources) -> None:
    """Add this attempt to OUTPUT/run.json: settings, versions, digests. Secrets are not among them."""
    uri = storage.join(job.output, "run.json")
    attempts = json.loads(storage.read_bytes(uri))["attempts"] if storage.exists(uri) else []
    attempts.append(
        {
            "attempt": job.attempt,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": asdict(job.settings),
            "settings_digest": job.settings.digest(),
            "weights_digest": job.weights_digest,
            "resources": asdict(resources),
            "versions": {name: version(name) for name in PACKAGES},
        }
    )
    storage.write_bytes(uri, (json.dumps({"attempts": attempts}, indent=2) + "\n").encode())


def audit(output: str, partial: bool = False) -> manifest.Counts:
    """The counts of a run. RunError when an index row has no manifest row, or the numbers do not add up.

    `partial`: only some photos were asked for, so others may be pending.
    """
    counts = manifest.counts(output)
    if counts.pending and not partial:
        raise RunError(f"{output}: {counts.pending} photos are still pending; start the same command again")
    if not counts.adds_up:
        raise RunError(f"{output}: the numbers do not add up; see interlcm status {output}")
    return counts
