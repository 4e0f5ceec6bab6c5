"""The weights folder on this machine."""

from pathlib import Path

from interlcm import weights_index
from pipeline.config.job import Job
from pipeline.storage.cache import local_folder


def checked_weights(job: Job) -> Path:
    """The weights folder on this machine. Raises WeightsError if it differs from the one that the run started with."""
    folder = weights_folder(job.settings.weights)
    found = weights_index.digest(folder, job.settings.variant)
    if found != job.weights_digest:
        name, wanted = job.settings.weights, job.weights_digest
        raise weights_index.WeightsError(
            f"{name}: digest {found[:12]} on this node, {wanted[:12]} on the driver; use the same weights everywhere"
        )
    return folder


def weights_folder(weights: str) -> Path:
    """The local folder of weights with this name, path or URI; a remote folder is copied to this machine once."""
    return weights_index.DEMO_WEIGHTS if weights == weights_index.DEMO else local_folder(weights)
