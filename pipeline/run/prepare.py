"""Before a run: check weights and settings, and decide every "auto"."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from interlcm import weights_index
from interlcm.errors import InterLCMError
from interlcm.tasks import color_fix_for
from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.config.secrets import Environment, Signing
from pipeline.config.settings import Settings
from pipeline.faces.detectors import load_detector
from pipeline.index.sources import Source
from pipeline.networks.files import background_file, has_parser
from pipeline.storage import client as storage_client
from pipeline.weights.local import weights_folder


class RunError(InterLCMError):
    """A run cannot start, or did not finish its work: one line with the remedy."""


def prepare(output: str, settings: Settings, signing: Signing | None = None) -> Job:
    """Check weights and settings before anything starts, and decide every "auto".

    Raises RunError, StorageError, WeightsError or DetectorError.
    """
    settings = replace(settings, weights=storage.public(settings.weights))
    parts = weights_index.opened(weights_folder(settings.weights))
    settings = settled(settings, parts, signing is not None)
    problems = weights_index.verify(parts.folder, settings.variant)
    if problems:
        raise weights_index.WeightsError(problems[0])
    return Job(
        settings=settings,
        output=storage.canonical(output),
        attempt=uuid.uuid4().hex,
        weights_digest=weights_index.digest_of(parts.index, settings.variant),
        software_version=version("interlcm"),
        environment=Environment(storage_client.environment()),
        weights_index=parts.index,
        signing=signing,
    )


def settled(settings: Settings, parts: weights_index.Parts, signed: bool) -> Settings:
    """The settings with every "auto" decided, checked against the weights folder."""
    variant, steps = chosen_variant(settings, parts.index)
    # Training uses all of a variant's steps. A variant also runs with fewer, which its authors did not test.
    trained = max(parts.index["variants"][variant]["steps"])
    if steps != trained:
        words = f"--steps {steps}: the weights ({variant}) were trained for {trained} steps; compare a few faces first"
        print(f"warning: {words}", file=sys.stderr, flush=True)
    detector = "none" if settings.aligned else load_detector(settings.detector, parts).name
    mask = settings.mask
    if mask == "auto":
        mask = "parsenet" if has_parser(parts) else "ellipse"
    if settings.background == "realesrgan":
        background_file(parts, settings.upscale)  # raises if it is missing
    color_fix = color_fix_for(settings.task, settings.color_fix)
    return replace(
        settings,
        variant=variant,
        steps=steps,
        trained_steps=trained,
        detector=detector,
        mask=mask,
        color_fix=color_fix,
        signed=signed,
    )


def check_links(job: Job, sources: Sequence[Source]) -> None:
    """Raises RunError if --every-photo link is asked for where files cannot be links."""
    if job.settings.every_photo != "link":
        return
    for uri in [job.output, *(source.uri for source in sources if source.kind == "folder")]:
        if not storage.is_local(uri):
            raise RunError(f"--every-photo link: {uri} is not on a disk of this machine; give --every-photo copy")


def with_dtype(job: Job, resources: Resources) -> Job:
    """The job with `dtype` settled: bfloat16 on GPUs, float32 on CPUs. Raises RunError."""
    dtype, on_gpu = job.settings.dtype, resources.gpus_per_actor > 0
    if dtype == "auto":
        dtype = "bfloat16" if on_gpu else "float32"
    if dtype == "float16" and not on_gpu:
        raise RunError("--dtype float16 needs a GPU: on a CPU it is many times slower; use float32 or bfloat16")
    return replace(job, settings=replace(job.settings, dtype=dtype))


def chosen_variant(settings: Settings, index: dict[str, Any]) -> tuple[str, int]:
    """The requested variant, or the one that fits task and steps best; and the steps."""
    variants = index["variants"]
    if settings.variant and settings.variant not in variants:
        raise RunError(f"{settings.weights}: no variant {settings.variant}; it has {', '.join(variants)}")
    names = [settings.variant] if settings.variant else list(variants)
    for_task = [name for name in names if variants[name]["task"] == settings.task]
    if not for_task:
        tasks = ", ".join(sorted({variants[name]["task"] for name in names}))
        raise RunError(f"--task {settings.task}: {settings.weights} supports only {tasks}; name weights for this task")
    if not settings.steps:
        most = max(for_task, key=lambda name: max(variants[name]["steps"]))
        return most, max(variants[most]["steps"])
    serving = [name for name in for_task if settings.steps in variants[name]["steps"]]
    if not serving:
        allowed = ", ".join(map(str, sorted({n for name in for_task for n in variants[name]["steps"]})))
        raise RunError(f"--steps {settings.steps}: the weights for {settings.task} support only {allowed}")
    # Prefer a variant that was trained for this number of steps alone.
    return min(serving, key=lambda name: len(variants[name]["steps"])), settings.steps
