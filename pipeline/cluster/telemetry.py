"""What a run measures while it works, as Ray's own metrics: every node offers them to Prometheus.

Ray puts `ray_` before the names below; `docs/grafana.json` is a dashboard over them. They count what this attempt of a
run did in all its workers; what a run did in the end is in the manifest. Where Ray is not running nothing happens.
"""

from __future__ import annotations

import re
import urllib.request
from functools import cache
from typing import Any, Literal

from pipeline.cluster import connect as cluster

faces_here = 0  # restored in this process, for the progress of a run without Ray
SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]

# name: kind, meaning, tags. Ray's histograms (2.60) know the bucket of a value and nothing finer, their sums included;
# so what is to be averaged is counted, and the histograms serve quantiles. Prometheus sees a counter with _total.
METRICS: dict[str, tuple[Literal["Counter", "Histogram"], str, tuple[str, ...]]] = {
    "interlcm_photos": ("Counter", "photos done, by status", ("status",)),
    "interlcm_faces": ("Counter", "faces restored", ()),
    "interlcm_failures": ("Counter", "photos that failed, by error_type", ("error_type",)),
    "interlcm_bytes": ("Counter", "bytes of the members done", ()),
    "interlcm_read_bytes": ("Counter", "bytes read from storage for these members", ()),
    "interlcm_decodes": ("Counter", "times that a photo was decoded, by stage", ("stage",)),
    "interlcm_seconds": ("Counter", "time that photos took, by stage", ("stage",)),
    "interlcm_photo_seconds": ("Histogram", "time that one photo took, by stage", ("stage",)),
    "interlcm_micro_batch_faces": ("Counter", "faces that the model was called with", ()),
    "interlcm_micro_batch_places": ("Counter", "places for faces in these calls, filled or padded", ()),
    "interlcm_micro_batch_seconds": ("Histogram", "time that one call of the model took", ()),
}


def photo_finished(row: dict[str, Any]) -> None:
    """Count a photo whose manifest row is committed."""
    if not cluster.running():
        return
    _metric("interlcm_photos").inc(1, {"status": row["status"]})
    if row["face_count"]:
        _metric("interlcm_faces").inc(row["face_count"])
    if row["status"] == "failed":
        _metric("interlcm_failures").inc(1, {"error_type": row["error_type"] or "unknown"})
    if row["bytes"]:
        _metric("interlcm_bytes").inc(row["bytes"])
    for name, seconds in row.items():
        stage = name.removeprefix("seconds_")
        if stage != name and seconds:  # a counter takes no zero
            _metric("interlcm_seconds").inc(seconds, {"stage": stage})
            _metric("interlcm_photo_seconds").observe(seconds, {"stage": stage})


def fetched(size: int) -> None:
    """Count bytes that were read from storage to get members."""
    if cluster.running() and size:
        _metric("interlcm_read_bytes").inc(size)


def decoded(stage: str) -> None:
    """Count one decoding of a photo."""
    if cluster.running():
        _metric("interlcm_decodes").inc(1, {"stage": stage})


def micro_batch(faces: int, size: int, seconds: float) -> None:
    """Count one call of the model: so many faces in a batch of a fixed size."""
    global faces_here
    faces_here += faces
    if not cluster.running():
        return
    _metric("interlcm_micro_batch_faces").inc(faces)
    _metric("interlcm_micro_batch_places").inc(size)
    _metric("interlcm_micro_batch_seconds").observe(seconds)


@cache
def _metric(name: str) -> Any:
    """One of METRICS; each process makes its own, once."""
    from ray.util import metrics

    kind, meaning, tags = METRICS[name]
    bounds = {"boundaries": SECONDS} if kind == "Histogram" else {}
    return getattr(metrics, kind)(name, description=meaning, tag_keys=tags, **bounds)


def totals() -> dict[str, float]:
    """The counters as the nodes of the cluster export them, summed over workers and tags. They lag by ten seconds."""
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
