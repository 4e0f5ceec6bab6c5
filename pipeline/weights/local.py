"""The weights folder on this machine."""

import socket
from collections.abc import Sequence
from pathlib import Path

from interlcm import weights_index
from pipeline.config.job import Job
from pipeline.storage.cache import local_folder


def checked_weights(job: Job, only: Sequence[str] | None = None) -> weights_index.Parts:
    """The weights folder on this machine. Its files are read as the driver's index lists them.

    only: the files that the caller may read; a node that needs no more does not copy the others. None: all.

    Raises WeightsError if the folder differs from the one that the run started with, and again as each file is read.
    """
    folder = weights_folder(job.settings.weights, only)
    found = weights_index.digest(folder, job.settings.variant)
    if found != job.weights_digest:
        name, wanted, here = job.settings.weights, job.weights_digest, f"in {folder} on {socket.gethostname()}"
        raise weights_index.WeightsError(
            f"{name}: digest {found[:12]} {here}, {wanted[:12]} on the driver; use the same weights everywhere"
        )
    return weights_index.Parts(folder, job.weights_index)


def weights_folder(weights: str, only: Sequence[str] | None = None) -> Path:
    """The local folder of weights with this name, path or URI; a remote folder is copied to this machine once.

    only: copy the index and these files alone.
    """
    if weights == weights_index.DEMO:
        return weights_index.DEMO_WEIGHTS
    return local_folder(weights, None if only is None else (weights_index.INDEX, *only))
