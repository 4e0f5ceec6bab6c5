"""The status of a run: its counts, its recent rate, and the time left. It reads nothing but OUTPUT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb

from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import query
from pipeline.run.attempts import Attempt, last_attempt
from pipeline.run.lease import Holder, working

WINDOW = timedelta(minutes=5)  # the rate is measured over this time; a run without results for this long has stalled

# Photos and faces after {start}. `results` is a table in memory, so nothing is read twice.
LATEST = """
SELECT count(*) AS photos, sum(face_count)::BIGINT AS faces FROM results WHERE finished_at > TIMESTAMPTZ '{start}'
"""


@dataclass(frozen=True)
class Status:
    """The counts of a run and its recent rate.

    Attributes:
        counts: photos by status.
        attempt: the newest one; None for an OUTPUT that was only indexed.
        last: time of the newest result.
        photos_per_minute, faces_per_second: over `WINDOW` before `last`, or since the attempt began; 0 without results.
        now: time of this status.
        holder: the process that works on the run, by its lease; None if there is none.
    """

    counts: manifest_counts.Counts
    attempt: Attempt | None
    last: datetime | None
    photos_per_minute: float
    faces_per_second: float
    now: datetime
    holder: Holder | None = None

    @property
    def moving(self) -> bool:
        """Whether there were results in the last minutes."""
        return self.last is not None and self.now - self.last < WINDOW and self.photos_per_minute > 0

    @property
    def remaining(self) -> timedelta | None:
        """Time until nothing is pending, at this rate; None without a holder or recent results."""
        if self.holder is None or not self.moving:
            return None
        return timedelta(minutes=self.counts.pending / self.photos_per_minute)


def read_status(output: str) -> Status:
    """Read the status of a run: only a few narrow columns, even of a large manifest.

    Raises StorageError if there is no run at OUTPUT, AttemptsError for a damaged run.json.
    """
    attempt = last_attempt(output)
    found = query.reading(output, lambda connection: _measured(connection, attempt), decided=False, whole=True)
    return replace(found, holder=working(output))


def _measured(connection: duckdb.DuckDBPyConnection, attempt: Attempt | None) -> Status:
    counts = manifest_counts.counted(connection)
    ends = query.run(connection, "SELECT min(finished_at), max(finished_at) FROM results")
    first, last = ends[0][0].as_py(), ends[1][0].as_py()
    photos = faces = seconds = 0.0
    if last is not None:
        start = max(last - WINDOW, attempt.started_at if attempt else first)
        latest = query.run(connection, LATEST.format(start=start.isoformat())).to_pylist()[0]
        photos, faces, seconds = latest["photos"], latest["faces"] or 0, (last - start).total_seconds()
    rate = (photos * 60 / seconds, faces / seconds) if seconds > 0 else (0.0, 0.0)
    return Status(counts, attempt, last, *rate, now=datetime.now(UTC))
