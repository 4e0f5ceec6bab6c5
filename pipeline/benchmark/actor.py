"""The real restore actor with random weights of the published shapes: what it adds to the model's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from interlcm import weights_index
from interlcm.pixels import to_pixels
from pipeline.benchmark.model import STEPS, Size, faces, peak, random_model, restart_peak
from pipeline.benchmark.sweep import COMPILED, reserved
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.networks.compiled import compile_model
from pipeline.networks.facexlib import FaceNetworks
from pipeline.networks.files import has_parser
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import to_table

VARIANT = "3step"
A_PHOTO = 4  # faces in a photo of the benchmark


def actor(
    folder: Path,
    size: Size,
    device: torch.device,
    dtype: str,
    batch: int,
    count: int,
    face_folder: Path | None,
    compile: bool = False,
    backend: str = "inductor",
) -> Iterator[dict[str, Any]]:
    """Rows of the actor restoring `count` faces: without judges, and with those of `face_folder`, if given; each with
    micro-batches that overlap and with others. Then monochrome photos, whose faces keep their tone, and last, for
    `compile`, a compiled model. backend: of torch.compile.

    folder: gets the weights (6 GB at full size), which the actor loads and checks as in a run, and compiled code.
    """
    weights = folder / "weights"
    write_weights(weights, size, device, face_folder)
    job = job_for(weights, dtype)
    gpus = 1.0 if device.type == "cuda" else 0.0
    stage = RestoreFaces(job, Resources(gpus_per_actor=gpus, batch_faces=batch, threads=torch.get_num_threads()))
    judge, none = stage.judge, FaceNetworks(None, device)
    judges, compiled = ("no judge", none), "no"
    ways = [(*judges, False, True, False), (*judges, False, False, False)]
    if face_folder is not None:
        judges = (judge.names, judge)
        ways += [(*judges, False, True, False), (*judges, False, False, False)]
        ways += [(f"{judge.names}; one tone", judge, True, True, False)]
    if compile:
        ways += [(*judges, False, True, True)]
    for name, stage.judge, monochrome, stage.overlaps, wanted in ways:
        begun = time.perf_counter()
        if wanted:
            worked = compile_model(stage.model, stage.tried, folder / COMPILED, backend=backend)
            compiled = "yes" if worked else "failed"
        stage(photos(min(count, stage.batch_faces), size.pixels, monochrome))  # warms up
        first = time.perf_counter() - begun
        restart_peak(device)
        begun = time.perf_counter()
        made = stage(photos(count, size.pixels, monochrome))
        seconds = time.perf_counter() - begun
        failed = sum(status is not None for status in made["status"].to_pylist())
        yield {
            "judged by": name, "overlap": "yes" if stage.overlaps else "no", "compiled": compiled,
            "dtype": dtype, "micro-batch": stage.batch_faces, "faces": count,
            "s/face": seconds / count, "faces/s": count / seconds, "first call s": first,
            "peak GB": peak(device), "reserved GB": reserved(device), "failed photos": failed,
        }  # fmt: skip


def write_weights(folder: Path, size: Size, device: torch.device, face_folder: Path | None) -> None:
    """A weights folder of random numbers, with links to facexlib's files."""
    random_model(size, device).save_pretrained(folder, VARIANT, licence="none", origin="random numbers")
    (folder / "face").mkdir()
    if face_folder is None:
        return
    parts = []
    for file in sorted(face_folder.glob("*.pth")):
        (folder / "face" / file.name).symlink_to(file.resolve())
        parts.append(weights_index.describe(file, f"face/{file.name}", "unknown", str(file), None))
    weights_index.write_index(folder, weights_index.merge_index(weights_index.read_index(folder), parts, {}))


def job_for(folder: Path, dtype: str) -> Job:
    """A job as a run prepares it, without a look at detectors and packages that the actor does not use."""
    parts = weights_index.opened(folder)
    settings = Settings(
        weights=str(folder), variant=VARIANT, steps=STEPS, trained_steps=STEPS, color_fix="wavelet", dtype=dtype,
        detector="none", mask="parsenet" if has_parser(parts) else "ellipse",
    )  # fmt: skip
    digest = weights_index.digest(folder, VARIANT)
    nowhere, secrets = str(folder / "no output"), Environment({})
    return Job(settings, nowhere, "benchmark", digest, "benchmark", secrets, weights_index=parts.index)


def photos(count: int, pixels: int, monochrome: bool) -> pa.Table:
    """The table that detect gives: `count` made-up faces, A_PHOTO in each photo, without the photos' files."""
    crops = to_pixels(faces(count, pixels))
    if monochrome:
        crops = np.repeat(crops[..., :1], 3, axis=3)
    found = {"score": 1.0, "box": [0, 0, 1, 1], "landmarks": [0.0] * 10, "matrix": [1, 0, 0, 0, 1, 0]}
    found |= {"one_tone": monochrome, "strength": 1.0}
    rows = [
        {
            "photo_id": f"{start:020d}",
            "bit_depth": 8,
            "faces": [{**found, "seed": start + n} for n in range(len(crops[start : start + A_PHOTO]))],
            "crops": crops[start : start + A_PHOTO].tobytes(),
        }
        for start in range(0, count, A_PHOTO)
    ]
    return to_table(rows)
