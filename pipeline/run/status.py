"""The status of a run: its counts, its recent rate, and the time left. It reads nothing but OUTPUT."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import duckdb

from pipeline import storage
from pipeline.index.copies import Index
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import query
from pipeline.run.attempts import Attempt, attempts, changes, last_attempt, newest_choice
from pipeline.run.lease import Holder, working
from pipeline.storage.output import Output

KEPT = ("counts", "last", "photos_per_minute", "faces_per_second", "made_by")  # of a status, in status.json

WINDOW = timedelta(minutes=5)  # the rate is measured over this time; a run without results for this long has stalled

# Photos and faces after {start}. `results` is a table in memory, so nothing is read twice.
LATEST = """
SELECT count(*) AS photos, sum(face_count)::BIGINT AS faces FROM results WHERE finished_at > TIMESTAMPTZ '{start}'
"""

# Results by the attempt that made them; run.json has its digests. A digest in each row of `results` would need 1 GB for
# 10^7 photos.
BY_ATTEMPT = "SELECT attempt, count(*) AS results FROM results WHERE status NOT IN ('pending', 'removed') GROUP BY 1"
# Results whose attempt is not in run.json: of an earlier version of the manifest, or because run.json was moved away.
OF_OTHERS = """
SELECT settings_digest, weights_digest, count(*) AS results FROM newest SEMI JOIN index AS i ON i.photo_id = index_id
WHERE status NOT IN ('pending', 'removed') AND (attempt IS NULL OR NOT list_contains([{known}]::INTEGER[], attempt))
GROUP BY ALL
"""


@dataclass(frozen=True)
class MadeBy:
    """The results that one pair of settings and weights made: digests, and the number of photos.

    last: whether these are those of the last attempt. changed: the settings in which they differ from the last
    attempt's, such as "quality 95 -> 90"; empty also where run.json does not know them.
    """

    settings_digest: str
    weights_digest: str
    results: int
    last: bool
    changed: tuple[str, ...] = ()


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
        made_by: results by settings and weights, those of the last attempt first, then the most frequent.
    """

    counts: manifest_counts.Counts
    attempt: Attempt | None
    last: datetime | None
    photos_per_minute: float
    faces_per_second: float
    now: datetime
    holder: Holder | None = None
    made_by: tuple[MadeBy, ...] = ()

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
    """The status of a run. It is counted, unless nothing changed since `counted`.

    Raises StorageError if there is no run at OUTPUT, AttemptsError for a damaged run.json.
    """
    attempt, index = last_attempt(output), Index.of(output)
    found = _kept(output, _state(output, index, attempt), attempt) or _counted(output, index, attempt)
    return replace(found, holder=working(output))


def counted(output: str) -> Status:
    """Count a run, whatever was counted before, and keep the result: ten million photos take seconds. Raises the same.

    status.json names the state of all files that were counted, so a change of one makes it void.
    """
    attempt, index = last_attempt(output), Index.of(output)
    before = _state(output, index, attempt)
    found = _counted(output, index, attempt)
    if _state(output, Index.of(output), last_attempt(output)) == before:
        known = {name: value for name, value in asdict(found).items() if name in KEPT}
        known |= {"state": before, "last": found.last.isoformat() if found.last else None}
        data, uri = json.dumps(known, indent=2).encode() + b"\n", Output(output).status_json
        if not storage.exists(uri) or storage.read_bytes(uri) != data:  # a start that does nothing changes no file
            storage.write_bytes(uri, data)
    return found


def _state(output: str, index: Index, attempt: Attempt | None) -> str:
    """A digest of what a count depends on: version, files and attempt."""
    files = [*index.listing, *Output(output).manifest_listing()]
    known = (version("interlcm"), files, attempt and attempt.started_at.isoformat())
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _kept(output: str, state: str, attempt: Attempt | None) -> Status | None:
    """The last count, if it is of this state."""
    try:
        known = json.loads(storage.read_bytes(Output(output).status_json))
        if known.pop("state") != state:
            return None
        last = datetime.fromisoformat(known["last"]) if known["last"] else None
        counts = manifest_counts.Counts(**known["counts"])
        made_by = tuple(MadeBy(**one | {"changed": tuple(one["changed"])}) for one in known["made_by"])
        known |= {"counts": counts, "last": last, "made_by": made_by}
        return Status(**known, attempt=attempt, now=datetime.now(UTC))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None  # of another version, or damaged: it is counted again


def _counted(output: str, index: Index, attempt: Attempt | None) -> Status:
    work = partial(_measured, attempt=attempt, listed=attempts(output))
    return query.reading(output, work, decided=False, memory=manifest_counts.MEMORY, whole=True, index=index)


def _measured(connection: duckdb.DuckDBPyConnection, attempt: Attempt | None, listed: list[dict[str, Any]]) -> Status:
    counts = manifest_counts.counted(connection)
    ends = query.run(connection, "SELECT min(finished_at), max(finished_at) FROM results")
    first, last = ends[0][0].as_py(), ends[1][0].as_py()
    photos = faces = seconds = 0.0
    if last is not None:
        start = max(last - WINDOW, attempt.started_at if attempt else first)
        latest = query.run(connection, LATEST.format(start=start.isoformat())).to_pylist()[0]
        photos, faces, seconds = latest["photos"], latest["faces"] or 0, (last - start).total_seconds()
    rate = (photos * 60 / seconds, faces / seconds) if seconds > 0 else (0.0, 0.0)
    return Status(counts, attempt, last, *rate, now=datetime.now(UTC), made_by=_made_by(connection, listed))


def _made_by(connection: duckdb.DuckDBPyConnection, listed: list[dict[str, Any]]) -> tuple[MadeBy, ...]:
    numbered = {one.get("number", place): one for place, one in enumerate(listed, 1)}
    by_attempt = query.run(connection, BY_ATTEMPT).to_pylist()
    rows = [{**row, **numbered[row["attempt"]]} for row in by_attempt if row["attempt"] in numbered]
    if len(rows) < len(by_attempt):
        rows += query.run(connection, OF_OTHERS.format(known=", ".join(map(str, numbered)))).to_pylist()
    last = newest_choice(listed)
    if last is not None:
        rows.append({**last, "results": 0})  # it may have just begun
    results: Counter[tuple[str, str]] = Counter()
    for row in rows:
        results[_digests(row)] += row["results"]
    attempt_of = {_digests(one): one for one in listed}
    made = [
        MadeBy(*pair, count, pair == _digests(last), tuple(changes(attempt_of[pair], last)))
        if pair in attempt_of and last is not None
        else MadeBy(*pair, count, False)
        for pair, count in results.items()
        if all(pair)
    ]
    return tuple(sorted(made, key=lambda one: (not one.last, -one.results, one.settings_digest, one.weights_digest)))


def _digests(row: dict[str, Any]) -> tuple[str, str]:
    """Of settings and weights; empty where they are unknown."""
    return row.get("settings_digest") or "", row.get("weights_digest") or ""
