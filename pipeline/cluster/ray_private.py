"""All uses of Ray's private modules, in one place: a new version of Ray may change any of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


def without_cpu(dataset: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, whose last operator now asks for no CPU. Repartitioning asks for a whole CPU and has no option."""
    operator: Any = dataset._logical_plan.dag
    operator.ray_remote_args["num_cpus"] = 0
    return dataset


@contextmanager
def on_loopback() -> Iterator[None]:
    """A cluster that is started in this context listens only on 127.0.0.1.

    Ray does this on Windows and macOS, to avoid questions of firewalls. On Linux it takes 127.0.0.1 for a mistake and
    listens on all addresses. The switch is an environment variable, but Ray reads it on import, which is too early.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def object_store() -> tuple[int, int]:
    """Bytes now in the object stores of the cluster, and all bytes spilled from them to disk so far."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    found = get_memory_info_reply(state).store_stats
    return found.object_store_bytes_used, found.spilled_bytes_total


def quiet_job_client() -> None:
    """Keep Ray's job client from logging each step of an upload."""
    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
