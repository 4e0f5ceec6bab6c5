"""The last count of a run, kept in OUTPUT/status.json with the files that were counted, and what came since.

A count is a sum over the members of the index. So when files came to the manifest, only their members are counted: as
they were without these files, and as they are now. This holds while all files that were counted are there, or others
with the same rows (`merged`), and the index is the same. Else, or if status.json is missing or damaged, the run is
counted anew.

`interlcm status` counts beside a run and writes nothing; the run writes its count at each merge (`merge`) and at its
end, from scratch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import Any

import duckdb

from pipeline import storage
from pipeline.index.copies import Index
from pipeline.manifest import compaction, query
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest.counts import Counts
from pipeline.manifest.parts import Listed
from pipeline.run.attempts import Attempt, attempts, last_attempt
from pipeline.run.since import Members, members
from pipeline.run.tally import WINDOW, Tally, rate, tally
from pipeline.storage.output import Output

FORMAT = 2  # of status.json


@dataclass(frozen=True)
class Kept:
    """A count, and of what.

    made_by: version of this software. index: digest of the files of the index. files: name and state of each file of
    the manifest. attempt: when the last one began. unlisted: attempts of results that run.json lacks.
    photos_per_minute, faces_per_second: over `WINDOW` before the newest result, or since the attempt began.
    """

    made_by: str
    index: str
    files: dict[str, str]
    attempt: str | None
    unlisted: list[str]
    tally: Tally
    photos_per_minute: float
    faces_per_second: float


@dataclass(frozen=True)
class Now:
    """A run as it is listed now."""

    output: str
    index: Index
    manifest: Sequence[Listed]
    attempt: Attempt | None
    known: frozenset[int]

    @staticmethod
    def of(output: str) -> Now:
        numbers = frozenset(one.get("number", place) for place, one in enumerate(attempts(output), 1))
        listing = Output(output).manifest_listing()
        return Now(output, Index.of(output), listing, last_attempt(output), numbers)

    def kept(self, found: Tally, pace: tuple[float, float]) -> Kept:
        """A count of all this."""
        digest = hashlib.sha256(repr(self.index.listing).encode()).hexdigest()
        began = self.attempt.started_at.isoformat() if self.attempt else None
        unlisted = found.unlisted(self.known)
        return Kept(version("interlcm"), digest, states(self.manifest), began, unlisted, found, *pace)


def states(files: Sequence[Listed]) -> dict[str, str]:
    """Each file with what would show that it is another one. The name of a merged file comes from its bytes."""
    return {name: str(size) if name.startswith("merged-") else f"{size} {state}" for name, size, state in files}


def count(output: str, from_scratch: bool = False) -> Kept:
    """Count a run as it is now. Raises StorageError if there is no run at OUTPUT, AttemptsError for a damaged run.json.

    from_scratch: whatever was counted before.
    """
    last = None if from_scratch else read_count(output)
    for attempt in range(query.ATTEMPTS):
        now = Now.of(output)
        try:
            return (last and _added(last, now)) or _anew(now)
        except (query.QueryError, storage.StorageError) as error:
            if not query.gone(error) or attempt == query.ATTEMPTS - 1:
                raise
    raise AssertionError


def _anew(now: Now) -> Kept:
    def work(connection: duckdb.DuckDBPyConnection) -> Kept:
        found = tally(connection, now.known)
        return now.kept(found, rate(connection, now.attempt, found.last))

    memory = manifest_counts.MEMORY
    return query.reading(
        now.output, work, decided=False, memory=memory, whole=True, index=now.index, listing=now.manifest
    )


def _added(last: Kept, now: Now) -> Kept | None:
    """The last count with what came since; None if that is not enough."""
    this = now.kept(last.tally, (last.photos_per_minute, last.faces_per_second))
    if replace(this, files=last.files, attempt=last.attempt) != last or not last.files.items() <= this.files.items():
        return None
    new = [file for file in now.manifest if file[0] not in last.files]
    if not new and this.attempt == last.attempt:
        return last
    if now.attempt is None or last.tally.last is None:
        return None  # rows of the first versions; or there is no count worth keeping
    start = max(last.tally.last - WINDOW, now.attempt.started_at)
    touched = members(now.output, now.index, [file for file in now.manifest if file[0] in last.files], new, start)
    return None if touched is None else _counted(last, now, touched)


def _counted(last: Kept, now: Now, touched: Members) -> Kept | None:
    with touched.before() as connection:
        before = tally(connection, now.known)
    with touched.now() as connection:
        there = tally(connection, now.known)
        found = last.tally.without(before, there)
        newest = before.last if before.last == last.tally.last else None
        if newest is not None and (there.last is None or there.last < newest):
            return None  # the newest result was replaced by an older one, as clocks that differ make it
        return now.kept(found, rate(connection, now.attempt, found.last))


def merge(output: str) -> None:
    """Merge the parts of a manifest, if they are many, while a run writes others; the count of them all is kept."""
    if sum(name.startswith("part-") for name, _ in Output(output).manifest_files()) <= compaction.FEW:
        return
    counted = count(output)
    listing = [file for file in Output(output).manifest_listing() if file[0] in counted.files]
    if states(listing) != counted.files:  # another compaction is at work, or a task wrote a part anew
        compaction.compact(output, whole=False)
        return
    merged = compaction.compact(output, whole=False, listing=listing)
    write_count(output, replace(counted, files=states(merged.files)))


def write_count(output: str, counted: Kept) -> None:
    """Keep a count, unless it is there already: a start that does nothing changes no file."""
    last = counted.tally.last
    known = asdict(counted) | {"format": FORMAT}
    known["tally"] |= {"last": last.isoformat() if last else None}
    data, uri = json.dumps(known, indent=1).encode() + b"\n", Output(output).status_json
    if not storage.exists(uri) or storage.read_bytes(uri) != data:
        storage.write_bytes(uri, data)


def read_count(output: str) -> Kept | None:
    """The last count; None if there is none, or it is of another version, or damaged."""
    try:
        known: dict[str, Any] = json.loads(storage.read_bytes(Output(output).status_json))
        if known.pop("format") != FORMAT:
            return None
        found = known["tally"]
        last = datetime.fromisoformat(found["last"]) if found["last"] else None
        return Kept(
            **known
            | {
                "files": dict(known["files"]),
                "tally": Tally(**found | {"counts": Counts(**found["counts"]), "last": last}),
            }
        )
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
