"""A whole training of the encoders on Ray Train: preparation, workers, and their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from interlcm import weights_index
from interlcm.errors import TrainingError, installs
from interlcm.perceptual import HEADS, TRUNK
from interlcm.weights_index import DEMO, WeightsError
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.limits import DEFAULTS
from pipeline.config.secrets import Environment
from pipeline.index import build as index_build
from pipeline.index.sources import expand
from pipeline.storage import client as storage_client
from pipeline.training import data as training_data
from pipeline.training import files as training_files
from pipeline.training.settings import TrainingSettings
from pipeline.training.worker import Place, TrainingJob, work
from pipeline.weights.local import weights_folder

POLL = 0.5  # seconds between checks for new reports of the workers


def prepare(
    sources: Sequence[str], output: str, weights: str, settings: TrainingSettings, unet: str | None = None
) -> TrainingJob:
    """Index the sources, unless OUTPUT has an index, and check that nothing needed is missing. Ray has to be running.

    Raises TrainingError, WeightsError or StorageError in one line; `check_inputs` finds most of it before Ray starts.
    """
    output = storage.canonical(output)
    names, begun = names_of(sources, output)
    if not begun:
        index_build.build_index(expand(names, output), output, DEFAULTS)
    crops = training_data.crop_list(output, settings.held_out)
    unet = unet and storage.public(unet)
    training_files.record(output, {
        "settings": settings.to_dict(), "sources": names, "weights": digest(weights), "unet": unet,
        "crops": crops.digest,
    })  # fmt: skip
    place = weights if weights == DEMO else storage.canonical(weights)
    index = weights_index.read_index(weights_folder(weights))
    environment = Environment(storage_client.environment())
    return TrainingJob(settings, output, place, unet, ray.put(crops), environment, index)


def check_inputs(sources: Sequence[str], output: str, weights: str, settings: TrainingSettings) -> None:
    """Check what can be checked without Ray. Raises TrainingError, WeightsError or StorageError in one line."""
    if find_spec("tensorboard") is None:
        raise TrainingError(f"training logs for TensorBoard, which is not installed; {installs('train')}")
    check_weights(weights, settings)
    names, begun = names_of(sources, storage.canonical(output))
    if not begun:
        expand(names, output)


def names_of(sources: Sequence[str], output: str) -> tuple[list[str], bool]:
    """The sources of a training (those of its first start if none are named now), and whether it was started before."""
    begun = json.loads(storage.read_bytes(storage.join(output, "train.json"))) if exists(output) else {}
    names = [storage.canonical(source) for source in sources] or begun.get("sources", [])
    if not names:
        raise TrainingError("there is nothing to train on; name SOURCES: archives or folders of face crops")
    return names, bool(begun)


def exists(output: str) -> bool:
    return storage.exists(storage.join(output, "train.json"))


def check_weights(weights: str, settings: TrainingSettings) -> None:
    """Raise WeightsError if the weights folder is damaged or lacks what the training needs."""
    folder = weights_folder(weights)
    variant = settings.variant if settings.start == "variant" else None
    problems = weights_index.verify(folder, variant)
    wanted = (TRUNK, HEADS) if settings.recipe.perceptual_weight else ()
    listed = {part["path"] for part in weights_index.read_index(folder)["parts"]}
    for path in wanted:
        if path not in listed:
            remedy = f"get it with `interlcm weights pull {weights} --metrics`, or set perceptual_weight: 0"
            problems.append(f"{folder / path} is missing; {remedy}")
    if problems:
        raise WeightsError(problems[0])


def digest(weights: str) -> str:
    """sha256 of a weights folder's model_index.json, which lists the sha256 of its files."""
    return weights_index.file_sha256(weights_folder(weights) / weights_index.INDEX)


def train(job: TrainingJob, workers: int, gpus: bool) -> Iterator[dict[str, Any]]:
    """Train to the end; yields the first worker's newest report (see `training_worker.Desk.after`) now and then.

    Start it again to continue. Raises TrainingError, StorageError or WeightsError of a worker, in one line.
    """
    job.settings.check_workers(workers)
    job = replace(job, threads=max(1, cluster.cores() // workers))
    reports: Any = Reports.remote()  # type: ignore[attr-defined]
    # Ray Train asks Ray's state API about its own actors without naming the cluster. If this machine has a second one,
    # the API takes them for dead and ends the training. Everything started by the task inherits the address.
    here = {"env_vars": {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}}
    outcome = fitted.options(runtime_env=here).remote(job, workers, gpus, reports)
    done: list[Any] = []
    while not done:
        done, _ = ray.wait([outcome], timeout=POLL)
        if (report := ray.get(reports.take.remote())) is not None:
            yield report
    if (stopped_by := ray.get(outcome)) is not None:
        raise stopped_by


@ray.remote(num_cpus=0)
class Reports:
    """Holds the newest report of the first worker until the driver takes it."""

    def __init__(self) -> None:
        self._newest: dict[str, Any] | None = None

    def put(self, report: dict[str, Any]) -> None:
        self._newest = report

    def take(self) -> dict[str, Any] | None:
        report, self._newest = self._newest, None
        return report


@ray.remote(num_cpus=0, max_retries=0)
def fitted(job: TrainingJob, workers: int, gpus: bool, reports: Any) -> BaseException | None:
    """Run the workers to their end; returns None, or the error that stopped them."""
    # A folder for Ray Train's own records, which are not kept: checkpoints are files of OUTPUT that appear whole.
    with TemporaryDirectory(prefix="interlcm-train-") as books:
        trainer = TorchTrainer(
            train_loop,
            train_loop_config={"job": job, "reports": reports},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
            run_config=RunConfig(name="training", storage_path=books, failure_config=FailureConfig(max_failures=0)),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            return reason(error)
    return None


def reason(error: TrainingFailedError) -> BaseException:
    """The worker's own error if this project raised it; else Ray's, in one line if a worker was lost."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [getattr(error, "controller_failure", error)]
    causes = [getattr(failure, "_base_exc", None) or getattr(failure, "cause", None) or failure for failure in failures]
    for cause in causes:
        if type(cause).__module__.partition(".")[0] in ("interlcm", "pipeline"):
            return cause
    if isinstance(causes[0], ray.exceptions.RayError):  # a worker or its node is gone
        what = str(causes[0]).partition("\n")[0]
        return TrainingError(f"a worker was lost ({what}); start the same command again to continue")
    return causes[0]


def train_loop(config: dict[str, Any]) -> None:
    """Runs in every worker of Ray Train."""
    context = ray.train.get_context()
    job, reports = config["job"], config["reports"]
    place = Place(context.get_world_rank(), context.get_world_size(), get_device())

    def wrap(module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module, [place.device] if place.device.type == "cuda" else None)

    work(job, place, lambda report: ray.get(reports.put.remote(report)), wrap)
    torch.distributed.barrier()  # no worker leaves while the first one still writes the result
