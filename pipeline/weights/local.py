"""The weights folder on this machine."""

import socket
from pathlib import Path

from interlcm import weights_index
from pipeline.config.job import Job
from pipeline.storage.cache import local_folder


def checked_weights(job: Job) -> weights_index.Parts:
    """The weights folder on this machine. Its files are read as the driver's index lists them.

    Raises WeightsError if the folder differs from the one that the run started with, and again as each file is read.
    """
    folder = weights_folder(job.settings.weights)
    found = weights_index.digest(folder, job.settings.variant)
    if found != job.weights_digest:
        name, wanted, here = job.settings.weights, job.weights_digest, f"in {folder} on {socket.gethostname()}"
        raise weights_index.WeightsError(
            f"{name}: digest {found[:12]} {here}, {wanted[:12]} on the driver; use the same weights everywhere"
        )
    return weights_index.Parts(folder, job.weights_index)


def weights_folder(weights: str) -> Path:
    """The local folder of weights with this name, path or URI; a remote folder is copied to this machine once."""
    return weights_index.DEMO_WEIGHTS if weights == weights_index.DEMO else local_folder(weights)
