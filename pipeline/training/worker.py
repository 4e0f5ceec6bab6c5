"""One worker of a training: it does its part of every iteration; the first one also logs, evaluates and saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import torch
from torch import nn

from interlcm import encoder_weights
from interlcm.encoder_training import EncoderTraining, MicroBatch
from interlcm.errors import TrainingError
from interlcm.metrics import psnr
from interlcm.model import InterLCM
from interlcm.perceptual import Perceptual
from interlcm.pixels import to_pixels, to_tensor
from interlcm.weights_index import DEMO, INDEX, Parts
from pipeline import storage
from pipeline.config.secrets import Environment
from pipeline.storage.cache import local_folder
from pipeline.training import files as training_files
from pipeline.training.data import CropReader, batches
from pipeline.training.files import EventLog
from pipeline.training.settings import TrainingSettings
from pipeline.weights.local import weights_folder

GRID_ROWS = 8  # held-out crops in a sample grid
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainingJob:
    """One attempt at a training, as every worker gets it.

    Attributes:
        weights: URI of the weights folder to start from, or "demo".
        unet: URI of the UNet to initialise a new spatial encoder from; None for the LCM's own.
        crops: a `CropList` in Ray's object store.
        threads: CPU threads of a worker without a GPU.
    """

    settings: TrainingSettings
    output: str
    weights: str
    unet: str | None
    crops: ray.ObjectRef
    environment: Environment
    weights_index: dict[str, Any]  # as the driver read it
    threads: int = 1


@dataclass(frozen=True)
class Place:
    """This worker's number, the number of workers, and its device."""

    rank: int = 0
    workers: int = 1
    device: torch.device = torch.device("cpu")


def work(job: TrainingJob, place: Place, report: Report, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Train from the newest checkpoint, or the beginning, to the end.

    Args:
        report: takes the first worker's report of an iteration.
        wrap: makes a module distributed.
    """
    job.environment.use()
    if place.device.type == "cpu":
        torch.set_num_threads(job.threads)
    try:
        _train(job, place, report, wrap)
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"the GPU's memory is full at micro_batch {job.settings.recipe.micro_batch}; lower it, "
                            "or set checkpoint_activations: true in the preset") from error  # fmt: skip


def _train(job: TrainingJob, place: Place, report: Report, wrap: Callable[[nn.Module], nn.Module]) -> None:
    settings, recipe = job.settings, job.settings.recipe
    parts = Parts(weights_folder(job.weights), job.weights_index)
    model = begin(job, parts).to(place.device)
    perceptual = Perceptual.load(parts) if recipe.perceptual_weight else None
    training = EncoderTraining(model, recipe, perceptual, wrap, settings.seed)
    state = training_files.load_checkpoint(job.output)
    if state is not None:
        training.load_state_dict(state)
        del state
    desk = Desk(job, training, parts, report) if place.rank == 0 else None
    size = settings.size or model.image_size
    stream = batches(job.crops, settings, size, training.iteration, place.rank, place.workers, job.environment)
    if training.iteration < recipe.iterations:
        for batch in stream:
            losses = training.step(micro_batches(batch, recipe.micro_batch, place.device))
            if desk:
                desk.after(losses, batch["left_out"].tolist())
    if desk:
        desk.finish()


def begin(job: TrainingJob, parts: Parts) -> InterLCM:
    """The model at the start of its training."""
    if job.settings.start == "variant":
        model = InterLCM.from_pretrained(parts, job.settings.variant)
    else:
        unet = None if job.unet is None else local_folder(job.unet)
        model = encoder_weights.new_encoders(parts, job.settings.seed, unet)
    model.task = job.settings.task  # so that samples are restored as its users restore
    return model


def micro_batches(batch: dict[str, Any], size: int, device: torch.device) -> list[MicroBatch]:
    return list(_micro_batches(batch, size, device))


def _micro_batches(batch: dict[str, Any], size: int, device: torch.device) -> Iterator[MicroBatch]:
    for start in range(0, len(batch["seed"]), size):
        part = slice(start, start + size)
        hq, lq = (to_tensor(batch[name][part], device) for name in ("hq", "lq"))
        yield MicroBatch(hq, lq, batch["seed"][part].tolist())


class Desk:
    """The first worker's records: logs, held-out PSNR and grids, checkpoints, and the result."""

    def __init__(self, job: TrainingJob, training: EncoderTraining, parts: Parts, report: Report) -> None:
        self._job, self._training, self._parts, self._report = job, training, parts, report
        self._log = EventLog(job.output, training.iteration)
        size = job.settings.size or training.model.image_size
        reader = CropReader(ray.get(job.crops), job.settings, size)
        self._held_out = reader.held_out()
        self._psnr: float | None = None
        self._left_out: dict[str, None] = {}  # a set in the order of arrival
        self._begun, self._done = time.monotonic(), 0
        if training.iteration == 0:
            self._judge()  # before any training
            self._log.publish()

    def after(self, losses: dict[str, float], left_out: Sequence[str]) -> None:
        """Record one finished iteration."""
        settings, iteration = self._job.settings, self._training.iteration
        last = iteration == settings.recipe.iterations
        self._done += 1
        self._left_out |= dict.fromkeys(line for lines in left_out for line in lines.splitlines())
        if last or iteration % settings.log_every == 0:
            rate = settings.recipe.learning_rate_at(iteration)
            self._log.add(iteration, {f"loss/{name}": value for name, value in losses.items()})
            self._log.add(iteration, {"learning_rate": rate, "seconds": self._seconds()})
        if last or iteration % settings.samples_every == 0:
            self._judge()
        if last or iteration % settings.checkpoint_every == 0:
            self._log.publish()  # before the checkpoint: entries logged twice are shown once, missing ones stay missing
            training_files.save_checkpoint(self._job.output, self._training.state_dict())
        self._report({
            "iteration": iteration, "losses": losses, "psnr": self._psnr, "seconds": self._seconds(),
            "left_out": list(self._left_out),
        })  # fmt: skip

    def _seconds(self) -> float:
        """Mean seconds for an iteration of this attempt."""
        return (time.monotonic() - self._begun) / max(1, self._done)

    @torch.no_grad()
    def _judge(self) -> None:
        """Restore the held-out crops with the averaged weights; log their mean PSNR, write a grid of the first ones."""
        if not self._held_out:
            return
        recipe, iteration = self._job.settings.recipe, self._training.iteration
        lq, hq = (np.stack([pair[name] for pair in self._held_out]) for name in ("lq", "hq"))
        with self._training.averaged() as model, self._training.autocast():
            outputs = [
                model.restore(to_tensor(pair["lq"][None], model.device), recipe.steps, [pair["seed"]])
                for pair in self._held_out
            ]
        restored = np.concatenate([to_pixels(output) for output in outputs])
        self._psnr = float(np.mean([psnr(ours, sharp) for ours, sharp in zip(restored, hq, strict=True)]))
        before = float(np.mean([psnr(input, sharp) for input, sharp in zip(lq, hq, strict=True)]))
        self._log.add(iteration, {"held_out/psnr": self._psnr, "held_out/psnr_lq": before})
        training_files.write_samples(self._job.output, iteration, [one[:GRID_ROWS] for one in (lq, restored, hq)])

    def finish(self) -> None:
        """Write the result: a weights folder of the averaged encoders."""
        self._log.close()
        settings = self._job.settings
        begun = "the demo weights" if self._job.weights == DEMO else self._job.weights
        with TemporaryDirectory(prefix="interlcm-weights-") as scratch:
            folder = Path(scratch) / "weights"
            encoder_weights.save_variant(
                folder,
                self._parts,
                settings.variant,
                dict(self._training.average.items()),
                steps=range(2, settings.recipe.steps + 1),
                task=settings.task,
                licence=settings.licence,
                origin=f"{settings.origin}, from {begun}",
            )
            training_files.publish_folder(folder, storage.join(self._job.output, "weights"), INDEX)
