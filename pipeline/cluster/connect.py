"""The Ray cluster of a run: the one that RAY_ADDRESS names, else a temporary one on this machine.

Ray is imported late: small runs do not use it (`pipeline.run.here`), and the import takes seconds. psutil is imported
late too: the model can be measured on a machine that has PyTorch and little else.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from interlcm.errors import InterLCMError, one_line
from pipeline.cluster import own_user

if TYPE_CHECKING:
    import psutil

# CPUs of a local cluster for fetch, detect and publish of one driver together, beside the restore actors.
SHARED_CPUS = 3


# Ray gives up after 30 s, and has no setting for this. It raises a plain Exception, known only by its text.
TIMED_OUT = "timed out during startup"
WRONG_TOKEN = b"InvalidAuthToken"
REFUSED = (
    "RAY_ADDRESS={}: the cluster refuses this machine's token; give its own in RAY_AUTH_TOKEN, in the file that "
    "RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token"
)
STARTING = 240.0  # seconds of further attempts


class ClusterError(InterLCMError):
    """A cluster, or a node of it, cannot be used: one line that names it."""


def connect(actors: int = 0, drivers: int = 1, object_store: int | None = None) -> None:
    """Join or start Ray, with room for `actors` restore actors on a machine without GPUs. Idempotent.

    drivers: of a run; each has a chain of stages. object_store: size of a local cluster's object store in bytes; None:
    Ray chooses.

    A local cluster may offer more CPUs than the machine has. Ray needs the whole chain of stages at once to make
    progress, which does not fit on two cores with one CPU per actor; and stages mostly wait for storage and each other.
    It is closed to other accounts: it listens on loopback, and only its user can read its token and enter its folder.
    """
    if running():
        return
    if joined():
        check_listening(os.environ["RAY_ADDRESS"])  # before the seconds that the import of Ray takes
    import psutil
    import ray

    from pipeline.cluster.ray_private import on_loopback

    # Silence Ray's notices; this project prints its own. Workers' errors still arrive, as exceptions.
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray's core logs an error for every actor pool (Ray issue 53727, about evicted constructor arguments).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Without this, Ray 2.60 warns that later versions do not set CUDA_VISIBLE_DEVICES on actors without a GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        own_user.keep_token()
    options: dict[str, Any] = {
        "num_cpus": None if address else max(cores(), actors + drivers * SHARED_CPUS),
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
                ray.init(address or "local", **options)  # "local": never join a cluster that runs on this machine
            return
        except ClusterError:
            raise
        except ConnectionError as error:
            reason = str(error).partition("\n")[0]
            raise ClusterError(f"RAY_ADDRESS={address}: {reason}; unset it to use this machine") from error
        except Exception as error:
            if TIMED_OUT not in str(error):
                raise ClusterError(f"Ray does not start: {one_line(error)}") from error
            if time.monotonic() > give_up:
                words = f"Ray did not start within {STARTING:.0f} s on this busy machine; start the same command again"
                raise ClusterError(words) from error
        end(set(psutil.Process().children()) - before)
        if not said:
            print("Ray is slow to start on this busy machine; trying again", file=sys.stderr, flush=True)
            said = True


def end(processes: set[psutil.Process]) -> None:
    """End the processes of a failed start of Ray, which would slow down the next attempt."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def check_listening(address: str) -> None:
    """Raise ClusterError if nothing answers at HOST:PORT, for which Ray itself would keep trying for minutes.

    Only Ray can look up "auto": the cluster that runs on this machine.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if "/" in host or not (host and port.isdigit()):
        raise ClusterError(f"RAY_ADDRESS={address}: give HOST:PORT, ray://HOST:PORT or auto, or unset it")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        words = f"{error.strerror or error}; start that cluster, or unset it to use this machine"
        raise ClusterError(f"RAY_ADDRESS={address}: {words}") from error


@contextmanager
def held_back_notices() -> Iterator[None]:
    """Hold back output to file descriptor 2 inside this block, and show it only if the block ends in an error.

    Ray's core writes a notice there, bypassing all logging: that it took its log level from the environment. It also
    says there, twenty times, that a cluster refuses the token; Ray's exception does not. That is a ClusterError.
    """
    with TemporaryFile() as notices:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            yield
        except BaseException as error:
            notices.seek(0)
            said = notices.read()
            if WRONG_TOKEN in said:
                raise ClusterError(REFUSED.format(os.environ.get("RAY_ADDRESS"))) from error
            os.write(stderr, said)
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def running() -> bool:
    """Whether this process has joined or started Ray, or is one of its workers."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def cpus() -> int:
    """CPUs of the cluster that `connect` joined or started; without a cluster, of this machine."""
    if not running():
        return cores()
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus() -> float:
    """GPUs of the cluster that `connect` joined or started; without a cluster, of this machine."""
    if running():
        import ray

        return float(ray.cluster_resources().get("GPU", 0))
    import torch

    return float(torch.cuda.device_count())


def joined() -> bool:
    """Whether runs use an existing cluster, which may grow."""
    return bool(os.environ.get("RAY_ADDRESS"))
