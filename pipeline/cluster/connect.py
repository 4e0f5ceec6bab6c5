"""The Ray cluster that a run uses: the one that RAY_ADDRESS names, else one on this machine for as long as it runs.

Ray is imported where it is started: small work runs without it (`pipeline.run.here`), and the import takes seconds.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryFile
from typing import Any

import psutil

from interlcm.errors import InterLCMError
from pipeline.cluster import own_user

# Of a local cluster: what fetching, detecting and composing share beside the restore actors.
SHARED_CPUS = 3


# Ray gives up after 30 s, for which it has no setting, with an Exception that only its words tell from others.
TIMED_OUT = "timed out during startup"
STARTING = 240.0  # seconds for which it is tried again


class ClusterError(InterLCMError):
    """There is no cluster to join: one line that names its address."""


def connect(actors: int = 0, object_store: int | None = None) -> None:
    """Join or start Ray, with room for `actors` restore actors on a machine without GPUs. Idempotent.

    object_store: bytes that the object store of a local cluster may hold, when others are meant than Ray chooses.

    A local cluster may promise more CPUs than there are: stages wait for storage and for each other much of the time,
    and with one CPU per actor two cores could never hold the whole chain at once, which Ray needs to make progress.
    It is this user's alone: it listens on loopback, and its token and its folder are closed to other accounts.
    """
    import ray

    from pipeline.cluster.ray_private import on_loopback

    if ray.is_initialized():
        return
    # Ray's notices: this project prints its own. Errors of a worker still arrive, as exceptions.
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Its core logs an error for every actor pool about ray issue 53727, which concerns evicted constructor arguments.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Ray 2.60 would else warn that later versions leave CUDA_VISIBLE_DEVICES alone on actors without a GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS")
    if address is not None:
        check_listening(address)
    else:
        own_user.keep_token()
    options: dict[str, Any] = {
        "num_cpus": None if address else max(cores(), actors + SHARED_CPUS),
        "include_dashboard": None if address else False,
        "object_store_memory": None if address else object_store,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": False,
        "_temp_dir": None if address else str(own_user.folder()),
    }
    give_up = time.monotonic() + STARTING
    said = False
    while True:
        before = set(psutil.Process().children())
        try:
            with held_back_notices(), nullcontext() if address else on_loopback():
                ray.init(address or "local", **options)  # "local": not a cluster that happens to run on this machine
            return
        except ConnectionError as error:
            reason = str(error).partition("\n")[0]
            raise ClusterError(f"RAY_ADDRESS={address}: {reason}; unset it to use this machine") from error
        except Exception as error:
            if TIMED_OUT not in str(error):
                raise
            if time.monotonic() > give_up:
                words = f"Ray did not start within {STARTING:.0f} s on this busy machine; start the same command again"
                raise ClusterError(words) from error
        end(set(psutil.Process().children()) - before)
        if not said:
            print("Ray is slow to start on this busy machine; trying again", file=sys.stderr, flush=True)
            said = True


def end(processes: set[psutil.Process]) -> None:
    """End what a start of Ray that gave up left running: else it takes the time that the next one needs."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def check_listening(address: str) -> None:
    """ClusterError when nothing answers at HOST:PORT. Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # "auto" and the like
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"RAY_ADDRESS={address}: {error.strerror or error}; start that cluster, or unset it to use this machine"
        ) from error


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


def running() -> bool:
    """Whether this process has joined or started Ray, or is one of its workers."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def cpus() -> int:
    """CPUs of the cluster that `connect` joined or started; of this machine where it did not."""
    if not running():
        return cores()
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus() -> float:
    """GPUs of the cluster that `connect` joined; of this machine where it did not."""
    if running():
        import ray

        return float(ray.cluster_resources().get("GPU", 0))
    import torch

    return float(torch.cuda.device_count())


def joined() -> bool:
    """Whether runs go to a cluster that others started, which may grow."""
    return "RAY_ADDRESS" in os.environ
