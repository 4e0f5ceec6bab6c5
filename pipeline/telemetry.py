"""What a run measures while it works, as Ray's own metrics: every node offers them to Prometheus.

Ray puts `ray_` before the names below; `docs/grafana.json` is a dashboard over them. They count what this attempt of a
run did in all its workers; what a run did in the end is in the manifest. Where Ray is not running nothing happens.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import ray
from ray.util.metrics import Counter, Histogram, Metric

STAGES = ("fetch", "detect", "restore", "compose")
SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]

# name: kind, meaning, tags. Ray's histograms (2.60) know the bucket of a value and nothing finer, their sums included;
# so what is to be averaged is counted, and the histograms serve quantiles. Prometheus sees a counter with _total.
METRICS: dict[str, tuple[type[Metric], str, tuple[str, ...]]] = {
    "interlcm_photos": (Counter, "photos done, by status", ("status",)),
    "interlcm_faces": (Counter, "faces restored", ()),
    "interlcm_failures": (Counter, "photos that failed, by error_type", ("error_type",)),
    "interlcm_bytes": (Counter, "bytes of the members done", ()),
    "interlcm_seconds": (Counter, "time that photos took, by stage", ("stage",)),
    "interlcm_photo_seconds": (Histogram, "time that one photo took, by stage", ("stage",)),
    "interlcm_micro_batch_faces": (Counter, "faces that the model was called with", ()),
    "interlcm_micro_batch_places": (Counter, "places for faces in these calls, filled or padded", ()),
    "interlcm_micro_batch_seconds": (Histogram, "time that one call of the model took", ()),
}


def photo_finished(row: dict[str, Any]) -> None:
    """Count a photo whose manifest row is committed."""
    if not ray.is_initialized():
        return
    _metric("interlcm_photos").inc(1, {"status": row["status"]})
    if row["face_count"]:
        _metric("interlcm_faces").inc(row["face_count"])
    if row["status"] == "failed":
        _metric("interlcm_failures").inc(1, {"error_type": row["error_type"] or "unknown"})
    if row["bytes"]:
        _metric("interlcm_bytes").inc(row["bytes"])
    for stage in STAGES:
        seconds = row.get(f"seconds_{stage}")
        if seconds:  # a counter takes no zero
            _metric("interlcm_seconds").inc(seconds, {"stage": stage})
            _metric("interlcm_photo_seconds").observe(seconds, {"stage": stage})


def micro_batch(faces: int, size: int, seconds: float) -> None:
    """Count one call of the model: so many faces in a batch of a fixed size."""
    if not ray.is_initialized():
        return
    _metric("interlcm_micro_batch_faces").inc(faces)
    _metric("interlcm_micro_batch_places").inc(size)
    _metric("interlcm_micro_batch_seconds").observe(seconds)


@cache
def _metric(name: str) -> Any:
    """One of METRICS; each process makes its own, once."""
    kind, meaning, tags = METRICS[name]
    bounds = {"boundaries": SECONDS} if kind is Histogram else {}
    return kind(name, description=meaning, tag_keys=tags, **bounds)
