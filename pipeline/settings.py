"""What a run is asked to do: the settings that change its results, and those that only change its pace."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from interlcm import weights_index
from pipeline import storage

DEMO = "demo"  # the name of the weights that come with the package; their path differs from node to node


@dataclass(frozen=True)
class Settings:
    """What a photo's result depends on, with the weights and the software.

    Attributes:
        weights: URI of a weights folder, or "demo".
        variant: which of its variants.
        steps: 2, 3 or 4 timesteps.
        color_fix: wavelet, adain or none.
        detector: a name of `detect.DETECTORS`; "auto" is settled before the run starts.
        min_face: faces narrower than this are left alone, px.
        format: of the restored photos: source, jpeg, png, tiff or webp.
        quality: of lossy formats, 1 to 100.
        seed: of the run; with a photo's content and a face's place it seeds the face's noise.
    """

    weights: str = DEMO
    variant: str = "3step"
    steps: int = 4
    color_fix: str = "wavelet"
    detector: str = "auto"
    min_face: int = 24
    format: str = "source"
    quality: int = 95
    seed: int = 0

    def digest(self) -> str:
        """sha256 of the settings; where the weights lie does not count, their own digest says what they are."""
        counted = {key: value for key, value in asdict(self).items() if key != "weights"}
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Resources:
    """How much of the cluster a run takes; no result depends on it.

    Attributes:
        min_actors, max_actors: restore actors, each with the whole model.
        gpus_per_actor: GPUs (a fraction is fine) for each; 0 restores on the CPU.
        batch_faces: faces in one micro-batch of the model.
        threads: CPU threads of an actor that restores on the CPU.
    """

    min_actors: int = 1
    max_actors: int = 1
    gpus_per_actor: float = 0.0
    batch_faces: int = 8
    threads: int = 1


class Environment:
    """Storage settings on their way to the workers. They hold secrets, so no printer or logger may look inside."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def __repr__(self) -> str:
        return "Environment(hidden)"

    def use(self) -> None:
        """Take these settings in this process, before its first use of storage."""
        storage.configure(self._variables)


@dataclass(frozen=True)
class Job:
    """One attempt at a run, as every worker gets it."""

    settings: Settings
    output: str
    attempt: str  # names the manifest parts of this attempt
    weights_digest: str
    software_version: str
    environment: Environment


def checked_weights(job: Job) -> Path:
    """The weights folder on this machine; WeightsError when it is not the one that the run was started with."""
    folder = weights_folder(job.settings)
    found = weights_index.digest(folder, job.settings.variant)
    if found != job.weights_digest:
        name, wanted = job.settings.weights, job.weights_digest
        raise weights_index.WeightsError(
            f"{name}: digest {found[:12]} here, {wanted[:12]} where the run was started; use the same everywhere"
        )
    return folder


def weights_folder(settings: Settings) -> Path:
    """The weights on this machine; a remote folder is copied here once."""
    return weights_index.DEMO_WEIGHTS if settings.weights == DEMO else storage.local_folder(settings.weights)
