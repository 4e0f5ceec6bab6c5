"""Metrics of a run in progress, as Ray metrics: every node exports them to Prometheus.

Ray puts `ray_` before the names below; `docs/grafana.json` is a dashboard for them. Each worker counts from zero, so
queries use increase() and rate(). The labels `run` and `attempt` tell runs and attempts apart. The manifest has the
results of the whole run. Without Ray, nothing is exported.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pipeline.cluster import connect as cluster

LABELS = ("run", "attempt")  # of every metric: the OUTPUT, and the number of the attempt
faces_here = 0  # faces restored in this process, for the progress of a run without Ray
SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]

# name: kind, meaning, tags. Ray's histograms (2.60) keep only the bucket of each value, so even their sums are inexact.
# So averages come from counters, and histograms give quantiles. Prometheus appends _total to a counter's name.
METRICS: dict[str, tuple[Literal["Counter", "Gauge", "Histogram"], str, tuple[str, ...]]] = {
    "interlcm_photos": ("Counter", "photos done, by status", ("status",)),
    "interlcm_faces": ("Counter", "faces restored", ()),
    "interlcm_failures": ("Counter", "photos that failed, by error_type", ("error_type",)),
    "interlcm_bytes": ("Counter", "bytes of the members done", ()),
    "interlcm_read_bytes": ("Counter", "bytes read from storage for these members", ()),
    "interlcm_decodes": ("Counter", "photos decoded, by stage", ("stage",)),
    "interlcm_seconds": ("Counter", "seconds spent on photos, by stage", ("stage",)),
    "interlcm_photo_seconds": ("Histogram", "seconds for one photo, by stage", ("stage",)),
    "interlcm_micro_batch_faces": ("Counter", "faces in the model's micro-batches", ()),
    "interlcm_micro_batch_places": ("Counter", "places in these micro-batches, filled or padded", ()),
    "interlcm_micro_batch_seconds": ("Histogram", "seconds for one micro-batch", ()),
    "interlcm_storage_retries": ("Counter", "requests to storage that were repeated", ()),
    "interlcm_total_photos": ("Gauge", "files of the attempt", ()),
    "interlcm_pending_photos": ("Gauge", "files of the attempt that have no result yet", ()),
    "interlcm_seconds_since_photo": ("Gauge", "seconds since the last finished photo", ()),
    "interlcm_waiting_demand": ("Gauge", "what tasks and actors wait for and no node has free", ("resource",)),
}


_labels = dict.fromkeys(LABELS, "")


def label(output: str, attempt: int) -> None:
    """Name the run and the attempt that this process works for; call it before the first count."""
    _labels.update(run=output, attempt=str(attempt))


def photo_finished(row: dict[str, Any]) -> None:
    """Count a photo whose manifest row is committed."""
    if not cluster.running():
        return
    _metric("interlcm_photos").inc(1, _with(status=row["status"]))
    if row["face_count"]:
        _metric("interlcm_faces").inc(row["face_count"], _with())
    if row["status"] == "failed":
        _metric("interlcm_failures").inc(1, _with(error_type=row["error_type"] or "unknown"))
    if row["bytes"]:
        _metric("interlcm_bytes").inc(row["bytes"], _with())
    for name, seconds in row.items():
        stage = name.removeprefix("seconds_")
        if stage != name and seconds:  # a counter does not accept zero
            _metric("interlcm_seconds").inc(seconds, _with(stage=stage))
            _metric("interlcm_photo_seconds").observe(seconds, _with(stage=stage))


def fetched(size: int) -> None:
    """Count bytes read from storage for members."""
    if cluster.running() and size:
        _metric("interlcm_read_bytes").inc(size, _with())


def decoded(stage: str) -> None:
    """Count one decoded photo."""
    if cluster.running():
        _metric("interlcm_decodes").inc(1, _with(stage=stage))


def micro_batch(faces: int, size: int, seconds: float) -> None:
    """Count one call of the model: this many faces in a micro-batch of this size."""
    global faces_here
    faces_here += faces
    if not cluster.running():
        return
    _metric("interlcm_micro_batch_faces").inc(faces, _with())
    _metric("interlcm_micro_batch_places").inc(size, _with())
    _metric("interlcm_micro_batch_seconds").observe(seconds, _with())


def storage_retried(requests: int) -> None:
    """Count requests to storage that this process repeated."""
    if cluster.running() and requests:
        _metric("interlcm_storage_retries").inc(requests, _with())


def progress(total: int, pending: int, seconds: float) -> None:
    """What the driver knows. total: files of the attempt. pending: those without a result. seconds: since the last
    photo."""
    if not cluster.running():
        return
    _metric("interlcm_total_photos").set(total, _with())
    _metric("interlcm_pending_photos").set(pending, _with())
    _metric("interlcm_seconds_since_photo").set(seconds, _with())


def waiting(demand: Mapping[str, float]) -> None:
    """What has no room in the cluster now, by resource: a resource that is left out keeps what it had."""
    if not cluster.running():
        return
    for resource, amount in demand.items():
        _metric("interlcm_waiting_demand").set(amount, _with(resource=resource))


def _with(**tags: str) -> dict[str, str]:
    return {**_labels, **tags}


@cache
def _metric(name: str) -> Any:
    """One of METRICS; each process creates its own, once."""
    from ray.util import metrics

    kind, meaning, tags = METRICS[name]
    bounds = {"boundaries": SECONDS} if kind == "Histogram" else {}
    return getattr(metrics, kind)(name, description=meaning, tag_keys=(*LABELS, *tags), **bounds)


def totals() -> dict[str, float]:
    """The counters that the cluster's nodes export, summed over workers and tags. They lag by up to ten seconds."""
    import ray

    sums: dict[str, float] = {}
    for node in ray.nodes():
        if node["Alive"]:
            address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(address, timeout=30) as reply:
                text = reply.read().decode()
            for name, value in re.findall(r"^ray_(interlcm_\w+)_total(?:{.*})? (\S+)$", text, re.MULTILINE):
                sums[name] = sums.get(name, 0.0) + float(value)
    return sums
