"""The status of a run: its counts, its recent rate, and the time left. It reads nothing but OUTPUT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.manifest.counts import Counts
from pipeline.run import kept_count
from pipeline.run.attempts import Attempt, attempts, changes, last_attempt, newest_choice
from pipeline.run.holder import Holder
from pipeline.run.kept_count import Kept
from pipeline.run.lease import working
from pipeline.run.tally import WINDOW, Tally


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

    counts: Counts
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
    """The status of a run. Only what came since the last count is counted, as far as there is one that counts.

    Raises StorageError if there is no run at OUTPUT, AttemptsError for a damaged run.json.
    """
    return replace(_status(output, kept_count.count(output)), holder=working(output))


def count_run(output: str) -> Status:
    """Count a run, whatever was counted before, and keep the result: ten million photos take seconds. Raises the same.

    status.json names the state of all files that were counted.
    """
    found = kept_count.count(output, from_scratch=True)
    kept_count.write_count(output, found)
    return _status(output, found)


def _status(output: str, found: Kept) -> Status:
    attempt, tally = last_attempt(output), found.tally
    made = _made_by(attempts(output), tally)
    pace = (found.photos_per_minute, found.faces_per_second)
    return Status(tally.counts, attempt, tally.last, *pace, now=datetime.now(UTC), made_by=made)


def _made_by(listed: list[dict[str, Any]], tally: Tally) -> tuple[MadeBy, ...]:
    numbered = {str(one.get("number", place)): one for place, one in enumerate(listed, 1)}
    results: Counter[tuple[str, str]] = Counter()
    for number, count in tally.by_attempt.items():
        if number in numbered:
            results[_digests(numbered[number])] += count
    for digests, count in tally.others.items():
        settings, _, weights = digests.partition(" ")
        results[settings, weights] += count
    last = newest_choice(listed)
    if last is not None:
        results[_digests(last)] += 0  # it may have just begun
    attempt_of = {_digests(one): one for one in listed}
    made = [
        MadeBy(*pair, count, pair == _digests(last), tuple(changes(attempt_of[pair], last)))
        if pair in attempt_of and last is not None
        else MadeBy(*pair, count, False)
        for pair, count in results.items()
        if all(pair)
    ]
    return tuple(sorted(made, key=lambda one: (not one.last, -one.results, one.settings_digest, one.weights_digest)))


def _digests(row: Mapping[str, Any]) -> tuple[str, str]:
    """Of settings and weights; empty where they are unknown."""
    return row.get("settings_digest") or "", row.get("weights_digest") or ""
