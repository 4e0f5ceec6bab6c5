"""The numbers and plots of the report's overview."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np

from pipeline.config.settings import Review
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import query
from pipeline.manifest.schema import STAGES
from pipeline.report.columns import Columns, Numbers
from pipeline.report.pictures import NEWEST
from pipeline.run.attempts import attempts

MOST_BINS = 32
SKIPPED = f"""
SELECT coalesce(error_type, 'unknown'), count(*) FROM ({NEWEST}) WHERE status = 'skipped' GROUP BY 1 ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True)
class Price:
    """The price of one hour of all machines of a run."""

    per_hour: float
    currency: str


def summary(output: str, columns: Columns, price: Price | None) -> dict[str, Any]:
    """Counts, times, cost, failures and plots of the page."""
    found = manifest_counts.counts(output)
    tried = attempts(output)
    reasons, stage_seconds, finished = query.reading(output, asked, decided=False, whole=True)
    wall = wall_seconds(finished, tried)
    done = found.restored + found.no_face + found.failed + found.withdrawn  # photos: what was skipped is none
    return {
        "counts": {**asdict(found), "adds_up": found.adds_up},
        "skipped": reasons,
        "to_review": int(np.nansum(columns.face["needs_review"])),
        "faces_per_photo": found.faces / found.restored if found.restored else None,
        "wall_seconds": wall,
        "stage_seconds": stage_seconds,
        "done": done,
        "cost": cost(price, wall, done),
        "started_at": tried[0]["started_at"] if tried else None,
        "finished_at": isoformat(finished[-1]) if len(finished) else None,
        "attempts": len(tried),
        "settings": tried[-1] if tried else {},
        "plots": plots(columns, finished, tried),
    }


def asked(connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], dict[str, float], Numbers]:
    """Skipped photos by reason, seconds by stage, and the time of each row of the log (epoch, ascending)."""
    seconds = query.run(connection, f"SELECT {', '.join(f'sum(seconds_{s}) AS {s}' for s in STAGES)} FROM photos")
    finished = query.run(connection, "SELECT epoch(finished_at) FROM manifest ORDER BY 1")[0].to_numpy()
    named = {"publish" if stage == "compose" else stage: seconds[stage][0].as_py() or 0.0 for stage in STAGES}
    return pairs(connection, SKIPPED), named, finished


def pairs(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    table = query.run(connection, sql)
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))


def isoformat(epoch: float) -> str:
    return (datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=int(epoch))).isoformat()


def wall_seconds(finished: Numbers, tried: list[dict[str, Any]]) -> float:
    """Run time in seconds: for each attempt, from its start to its last row before the next attempt."""
    starts = [datetime.fromisoformat(one["started_at"]).timestamp() for one in tried]
    total = 0.0
    for start, end in pairwise([*starts, np.inf]):
        own = finished[(finished >= start) & (finished < end)]
        total += float(own[-1] - start) if len(own) else 0.0
    return total


def cost(price: Price | None, wall: float, done: int) -> dict[str, Any] | None:
    """Cost of 1,000 photos; None if price or time is unknown."""
    if price is None or not done or not wall:
        return None
    return {"per_1000": price.per_hour * wall / 3600 / done * 1000, **asdict(price)}


def plots(columns: Columns, finished: Numbers, tried: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The histograms that are not empty, in the order of the page."""
    face = columns.face
    review = {**asdict(Review()), **(tried[-1]["settings"].get("review", {}) if tried else {})}
    count = columns.photo["face_count"]
    made = [
        histogram("identity_similarity", {"": face["identity_similarity"]}, limit=review["min_identity"]),
        histogram("psnr", {"": face["psnr"]}, limit=review["min_psnr"]),
        histogram("delta_e", {"": face["delta_e"]}, limit=review["max_delta_e"]),
        histogram("sharpness", before_after(face, "sharpness"), logarithmic=True, limit=review["min_sharpness"]),
        histogram("quality", before_after(face, "quality")),
        histogram("eye_distance", {"": face["eye_distance"]}, logarithmic=True, limit=review["min_eye_distance"]),
        faces_per_photo(count[count > 0]),
        throughput(finished),
    ]
    return [plot for plot in made if plot is not None]


def before_after(face: dict[str, Numbers], name: str) -> dict[str, Numbers]:
    return {"before": face[f"{name}_before"], "after": face[f"{name}_after"]}


def histogram(
    name: str, series: dict[str, Numbers], logarithmic: bool = False, limit: float | None = None
) -> dict[str, Any] | None:
    """Counts of the values of each series in equal bins (logarithmic: only values above zero); None without values.

    `limit` is the review threshold, which the plot marks.
    """
    kept = {key: v[np.isfinite(v) & (v > 0 if logarithmic else True)] for key, v in series.items()}
    values = np.concatenate(list(kept.values()))
    if not len(values):
        return None
    bins = int(np.clip(2 * np.sqrt(len(values)), 8, MOST_BINS))  # many bins with few faces would show mostly gaps
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = (low * 0.9, high * 1.1) if low > 0 else (low - 1, high + 1)
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high  # geomspace rounds
    return {
        "name": name,
        "logarithmic": logarithmic,
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "series": [{"name": key, "counts": np.histogram(v, edges)[0].tolist()} for key, v in kept.items()],
        "limit": limit,
    }


def faces_per_photo(count: Numbers) -> dict[str, Any] | None:
    """Photos with 1, 2, 3, ... faces; the last bar includes photos with more."""
    if not len(count):
        return None
    most = int(np.clip(count.max(), 5, 20))
    heights = np.bincount(np.minimum(count, most).astype(int), minlength=most + 1)[1:]
    edges = [place + 0.5 for place in range(most + 1)]
    series = [{"name": "", "counts": heights.tolist()}]
    return {"name": "face_count", "logarithmic": False, "edges": edges, "series": series, "limit": None}


def throughput(finished: Numbers) -> dict[str, Any] | None:
    """Photos per minute from the first row to the last; None if the run is too short for this."""
    if len(finished) < 16 or finished[0] == finished[-1]:
        return None
    counts, edges = np.histogram(finished, min(60, len(finished) // 4))
    minutes = float(edges[1] - edges[0]) / 60
    return {
        "name": "throughput",
        "logarithmic": False,
        "edges": [round(float(edge), 1) for edge in edges],
        "series": [{"name": "", "counts": [round(value / minutes, 2) for value in counts.tolist()]}],
        "limit": None,
    }
