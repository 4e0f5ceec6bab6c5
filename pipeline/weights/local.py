"""The weights folder on this machine."""

from pathlib import Path

from interlcm import weights_index
from pipeline.config.job import Job
from pipeline.storage.cache import local_folder


def checked_weights(job: Job) -> weights_index.Parts:
    """The weights folder on this machine, whose files are read as the driver's index lists them.

    WeightsError when the folder is not the one that the run was started with; reading does so for each file.
    """
    folder = weights_folder(job.settings.weights)
    found = weights_index.digest(folder, job.settings.variant)
    if found != job.weights_digest:
        name, wanted = job.settings.weights, job.weights_digest
        raise weights_index.WeightsError(
            f"{name}: digest {found[:12]} here, {wanted[:12]} where the run was started; use the same everywhere"
        )
    return weights_index.Parts(folder, job.weights_index)


def weights_folder(weights: str) -> Path:
    """The weights folder of this name, path or URI on this machine; a remote folder is copied here once."""
    return weights_index.DEMO_WEIGHTS if weights == weights_index.DEMO else local_folder(weights)
