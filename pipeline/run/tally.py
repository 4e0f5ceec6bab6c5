"""What is counted of a run: sums over its members, so that the tally of a part can be taken out and put in again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import duckdb

from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import query
from pipeline.manifest.counts import Counts
from pipeline.run.attempts import Attempt

WINDOW = timedelta(minutes=5)  # the rate is measured over this time; a run without results for this long has stalled

# Photos and faces after {start}. `results` is a table in memory, so nothing is read twice.
LATEST = """
SELECT count(*) AS photos, sum(face_count)::BIGINT AS faces FROM results WHERE finished_at > TIMESTAMPTZ '{start}'
"""

# Results by the attempt that made them; run.json has its digests. A digest in each row of `results` would need 1 GB for
# 10^7 photos.
BY_ATTEMPT = """
SELECT coalesce(attempt::VARCHAR, ''), count(*) FROM results WHERE status NOT IN ('pending', 'removed') GROUP BY 1
"""
# Results whose attempt is not in run.json: of an earlier version of the manifest, or because run.json was moved away.
OF_OTHERS = """
SELECT coalesce(settings_digest, '') || ' ' || coalesce(weights_digest, ''), count(*)
FROM newest SEMI JOIN index AS i ON i.photo_id = index_id
WHERE status NOT IN ('pending', 'removed') AND (attempt IS NULL OR NOT list_contains([{known}]::INTEGER[], attempt))
GROUP BY 1
"""


@dataclass(frozen=True)
class Tally:
    """The counts of a run, or of some members of it.

    by_attempt: number of an attempt, empty for rows without one -> results that it made. others: digests of settings
    and weights, with a space between them -> results of attempts that run.json lacks. last: time of the newest result.
    """

    counts: Counts
    by_attempt: Mapping[str, int]
    others: Mapping[str, int]
    last: datetime | None

    def without(self, before: Tally, now: Tally) -> Tally:
        """This tally, in which some members counted as in `before`, with those counted as in `now`."""
        ends = [one for one in (self.last, now.last) if one is not None]
        return Tally(
            _counts(self.counts, before.counts, now.counts),
            _sums(self.by_attempt, before.by_attempt, now.by_attempt),
            _sums(self.others, before.others, now.others),
            max(ends, default=None),
        )

    def unlisted(self, known: Collection[int]) -> list[str]:
        """The attempts of these results that are not among the known ones."""
        return sorted(set(self.by_attempt) - {str(number) for number in known})


def tally(connection: duckdb.DuckDBPyConnection, known: Collection[int]) -> Tally:
    """Count what a connection from `query` has, which then also has the table `results`.

    known: the attempts that run.json lists.
    """
    counts = manifest_counts.count_rows(connection)
    by_attempt = manifest_counts.pairs(connection, BY_ATTEMPT)
    (last,) = query.run(connection, "SELECT max(finished_at) FROM results")[0].to_pylist()
    found = Tally(counts, by_attempt, {}, last)
    if not found.unlisted(known):
        return found
    listed = ", ".join(map(str, sorted(known)))
    return Tally(counts, by_attempt, manifest_counts.pairs(connection, OF_OTHERS.format(known=listed)), last)


def rate(connection: duckdb.DuckDBPyConnection, attempt: Attempt | None, last: datetime | None) -> tuple[float, float]:
    """Photos per minute and faces per second in the WINDOW before `last`, or since the attempt began; else 0.

    connection: one that `tally` has counted.
    """
    if last is None:
        return 0.0, 0.0
    if attempt is None:
        (began,) = query.run(connection, "SELECT min(finished_at) FROM results")[0].to_pylist()
    else:
        began = attempt.started_at
    start = max(last - WINDOW, began)
    (latest,) = query.run(connection, LATEST.format(start=start.isoformat())).to_pylist()
    seconds = (last - start).total_seconds()
    return (latest["photos"] * 60 / seconds, (latest["faces"] or 0) / seconds) if seconds > 0 else (0.0, 0.0)


def _counts(all: Counts, before: Counts, now: Counts) -> Counts:
    found: dict[str, Any] = {}
    for one in fields(Counts):
        values = [getattr(counts, one.name) for counts in (all, before, now)]
        found[one.name] = _sums(*values) if isinstance(values[0], dict) else values[0] - values[1] + values[2]
    return Counts(**found)


def _sums(all: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    found = Counter(all)
    found.subtract(before)
    found.update(now)
    return {name: count for name, count in sorted(found.items(), key=lambda one: (-one[1], one[0])) if count}
