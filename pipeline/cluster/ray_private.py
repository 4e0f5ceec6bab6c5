"""All uses of Ray's private modules, in one place: a new version of Ray may change any of them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.internal_api import get_memory_info_reply, get_state_from_address
from ray._private.state import state
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]
from ray.data._internal.cluster_autoscaler import DefaultAutoscalingCoordinator


def without_cpu(dataset: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, whose last operator now asks for no CPU. Repartitioning asks for a whole CPU and has no option."""
    operator: Any = dataset._logical_plan.dag
    operator.ray_remote_args["num_cpus"] = 0
    return dataset


def in_one_call(dataset: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, whose last operator now gets all rows that it waited for in one call: batch_size or a few more.

    Ray Data waits until whole blocks have batch_size rows together, and has no option for taking them as they are: it
    calls for that many rows, and once more for the few that are left.
    """
    operator: Any = dataset._logical_plan.dag
    object.__setattr__(operator, "batch_size", sys.maxsize)  # what it waits for is a field of its own
    return dataset


def take_share(parts: int) -> None:
    """Let each dataset of this process count on one of so many equal parts of the cluster, as it grows and shrinks.

    Ray Data (2.60) itself divides each node among the datasets of a cluster in whole CPUs and GPUs: of a node with one
    GPU, none of two datasets would get a part.
    """

    def reserved(self: Any) -> dict[str, dict[str, float]]:
        nodes = [node for node in ray.nodes() if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()]
        return {node["NodeID"]: {name: amount / parts for name, amount in node["Resources"].items()} for node in nodes}

    coordinator: Any = DefaultAutoscalingCoordinator
    coordinator.get_reserved_resources = reserved


@contextmanager
def on_loopback() -> Iterator[None]:
    """A cluster that is started in this context listens only on 127.0.0.1.

    Ray does this on Windows and macOS, to avoid questions of firewalls. On Linux it takes 127.0.0.1 for a mistake and
    listens on all addresses. The switch is an environment variable, but Ray reads it on import, which is too early.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def object_store() -> tuple[int, int]:
    """Bytes now in the object stores of the cluster, and all bytes spilled from them to disk so far."""
    head = get_state_from_address(ray.get_runtime_context().gcs_address)
    found = get_memory_info_reply(head).store_stats
    return found.object_store_bytes_used, found.spilled_bytes_total


def cluster_status(seconds: float) -> tuple[Any, dict[str, Any]]:
    """What the cluster's head knows about demand and nodes, and the last report of an autoscaler of the first version.

    The former is a GetClusterStatusReply, in which an autoscaler of the second version reports too. The latter is empty
    without an autoscaler. Raises an error of Ray if the head does not answer within this time.
    """
    head = GcsClient(address=ray.get_runtime_context().gcs_address)
    reply = GetClusterStatusReply.FromString(head.get_cluster_status(timeout_s=seconds))
    report = head.internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS.encode(), None, timeout=seconds)
    return reply, (json.loads(report).get("autoscaler_report") or {}) if report else {}


def actors() -> list[tuple[str, str]]:
    """Class and state of each actor of this job that is not dead. Ray Data's are MapWorker(MapBatches(CLASS)).

    The head also remembers the dead ones, of which a long run has many, so it is asked for each other state.
    """
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    states = ("ALIVE", "PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING")
    found = [(state.actor_table(None, job, one), one) for one in states]
    return [(actor["ActorClassName"], one) for actors, one in found for actor in actors.values()]


def quiet_job_client() -> None:
    """Keep Ray's job client from logging each step of an upload."""
    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
