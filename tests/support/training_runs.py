"""Crops, settings and logs for the tests of training."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image

from pipeline.training.settings import TrainingSettings

PRESET: dict[str, Any] = {
    "variant": "3step",
    "licence": "test",
    "origin": "test",
    "held_out": 3,  # whose order is that of a hash of the path, so that they may begin with the two that are no crops
    "log_every": 1,
    "samples_every": 4,
    "checkpoint_every": 2,
    "degradations": [{"noise": [10, 20]}],
    "recipe": {
        "steps": 3,
        "iterations": 4,
        "batch": 4,
        "micro_batch": 1,
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-4,
        "learning_rate_period": 100,
        "ema": 0.5,
        "perceptual_weight": 0,
        "adversarial_from": 4,
        "discriminator_layers": 2,
        "discriminator_filters": 8,
        "precision": "float32",
    },
}


def settings(recipe: dict[str, Any] | None = None, **changed: Any) -> TrainingSettings:
    return TrainingSettings.from_preset("test", {**PRESET, **changed, "recipe": {**PRESET["recipe"], **(recipe or {})}})


def faces_tar(path: Path, count: int = 8, side: int = 40) -> str:
    """A tar of square crops of a portrait as PNG files, after a text file and one that is not square."""
    portrait = skimage.data.astronaut()
    with tarfile.open(path, "w") as archive:
        add(archive, "about.txt", b"not a picture")
        add(archive, "wide.png", png(portrait[:30, :50]))
        for n in range(count):
            add(archive, f"faces/{n}.png", png(portrait[20 * n : 20 * n + side, 180 : 180 + side]))
    return str(path)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def curve(output: Path, name: str = "loss/total") -> dict[int, float]:
    """TensorBoard's values of a scalar: iteration to value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}
