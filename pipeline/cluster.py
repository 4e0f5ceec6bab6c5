"""The Ray cluster that a run uses: the one that RAY_ADDRESS names, else one on this machine for as long as it runs."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

import ray

# Of a local cluster: what fetching, detecting and composing share beside the restore actors.
SHARED_CPUS = 3


def connect(actors: int = 0) -> None:
    """Join or start Ray, with room for `actors` restore actors on a machine without GPUs. Idempotent.

    A local cluster may promise more CPUs than there are: stages wait for storage and for each other much of the time,
    and with one CPU per actor two cores could never hold the whole chain at once, which Ray needs to make progress.
    """
    if ray.is_initialized():
        return
    # Ray's notices: this project prints its own. Errors of a worker still arrive, as exceptions.
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Its core logs an error for every actor pool about ray issue 53727, which concerns evicted constructor arguments.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Ray 2.60 would else warn that later versions leave CUDA_VISIBLE_DEVICES alone on actors without a GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    joins = "RAY_ADDRESS" in os.environ
    with held_back_notices():
        ray.init(
            num_cpus=None if joins else max(cores(), actors + SHARED_CPUS),
            include_dashboard=None if joins else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
        )


@contextmanager
def held_back_notices() -> Iterator[None]:
    """Keep what is written to file descriptor 2 meanwhile, and show it only when this ends in an error.

    Ray's core announces there, past all logging, that it took its log level from the environment.
    """
    with TemporaryFile() as notices:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            yield
        except BaseException:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> float:
    """GPUs of the cluster that `connect` joined."""
    return float(ray.cluster_resources().get("GPU", 0))
