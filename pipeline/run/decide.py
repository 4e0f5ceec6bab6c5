"""Make an OUTPUT follow the decisions of curators: set files aside, bring them back, restore photos again, mark rows.

Each step may be killed: the file moves before its row is written. The next start puts such a file where its row has it,
and then follows the decisions as they are by then.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import duckdb
import pyarrow as pa

from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.secrets import Signing
from pipeline.config.settings import Settings
from pipeline.index.schema import root_id
from pipeline.manifest import query
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.manifest.write import write_part
from pipeline.run.attempts import attempt_with
from pipeline.run.prepare import RunError, prepare
from pipeline.run.verdicts import Judged, Row, strengths_of
from pipeline.storage.output import Output

PART = 1000  # rows of a manifest part
REQUESTS = 16  # files that move at a time
# Rows of restored photos with what `put_right` needs, {which} of them.
PLACES = """
SELECT n.restored_uri AS uri, n.restored_sha256 AS sha256, i.archive_name
FROM newest AS n JOIN index AS i ON i.photo_id = n.index_id WHERE n.restored_uri IS NOT NULL AND {which}
"""
STRAY = "n.status <> 'withdrawn' AND EXISTS (SELECT 1 FROM stray WHERE ends_with(n.restored_uri, '/restored/' || path))"


def put_right(output: str) -> None:
    """Move files back that a killed call moved before it wrote their rows. The caller holds the lease.

    Only a file with the digest of the row moves, and only to where no file is.
    """
    place = Output(output)
    there = {path for path, *_ in storage.entries(place.withdrawn)} if storage.exists(place.withdrawn) else set()
    rows = [row for row in placed(output, "n.status = 'withdrawn'") if row["uri"].startswith(f"{place.withdrawn}/")]
    aside = {row["uri"].removeprefix(f"{place.withdrawn}/"): row for row in rows}
    stray = pa.table({"path": pa.array(sorted(there - aside.keys()), pa.string())})
    back = placed(output, STRAY, stray=stray) if len(stray) else []
    missing = [row for path, row in aside.items() if path not in there]
    moves = [(row, place.withdrawn, place.restored) for row in back]
    moves += [(row, place.restored, place.withdrawn) for row in missing]
    for row, now, meant in moves:
        path = row["uri"].removeprefix(f"{meant}/")
        uri = storage.join(now, path)
        if not storage.exists(row["uri"]) and storage.exists(uri) and digest(uri) == row["sha256"]:
            storage.move(uri, row["uri"])


def placed(output: str, which: str, **tables: pa.Table) -> list[Row]:
    """The rows of PLACES, with `uri` as it is now."""

    def found(connection: duckdb.DuckDBPyConnection) -> list[Row]:
        for name, table in tables.items():
            connection.register(name, table)
        rows: list[Row] = query.run(connection, PLACES.format(which=which)).to_pylist()
        return rows

    rows = query.reading(output, found, decided=False, whole=True)
    return [row | {"uri": Output(output).now(row["uri"], row["archive_name"])} for row in rows]


def digest(uri: str) -> str:
    return hashlib.sha256(storage.read_bytes(uri)).hexdigest()


def settle(output: str, judged: Iterable[Judged]) -> Iterator[int]:
    """Set files aside, bring them back and mark rows; yields the number of rows of each committed part.

    A photo to bring back whose file is gone is not settled: it has to be restored again.
    """
    todo = [one for one in judged if one.moves or not (one.marked or one.changes)]
    with ThreadPoolExecutor(REQUESTS) as threads:
        for first in range(0, len(todo), PART):
            made = threads.map(partial(settled, output), todo[first : first + PART])
            rows = [row for row in made if row is not None]
            if rows:
                write_part(rows, output, f"decide {uuid.uuid4().hex}")
                yield len(rows)


def settled(output: str, one: Judged) -> Row | None:
    """The new row of a photo, after its file moved; None if there is no file to bring back."""
    row, verdict = one.row, one.verdict
    uri = Output(output).now(row["restored_uri"], row["archive_name"])
    if one.moves:
        uri = moved(output, uri, verdict.withdrawn)
        if not verdict.withdrawn and not storage.exists(uri):
            return None
    faces = zip(row["faces"], strengths_of(row, verdict), strict=True)
    news = {
        "status": "withdrawn" if verdict.withdrawn else "restored" if row["faces"] else "no_face",
        "restored_uri": uri,
        "faces": [{**face, "accepted": new.accepted} for face, new in faces],
        "reviewed_as": verdict.reviewed_as,
        "reviewed_by": verdict.reviewed_by,
        "reviewed_at": verdict.reviewed_at,
        # Newer than the row that it replaces, whatever the clocks of the machines say.
        "finished_at": max(datetime.now(UTC), row["finished_at"] + timedelta(microseconds=1)),
    }
    return {name: row[name] for name in MANIFEST_SCHEMA.names} | news


def moved(output: str, uri: str, aside: bool) -> str:
    """Move a file between restored/ and withdrawn/; returns its new place. It may have been moved before."""
    place = Output(output)
    folders = (place.restored, place.withdrawn) if aside else (place.withdrawn, place.restored)
    if not uri.startswith(f"{folders[0]}/"):
        raise RunError(f"{uri}: not in {folders[0]}; run interlcm decide on the OUTPUT that has this file")
    to = folders[1] + uri.removeprefix(folders[0])
    storage.move(uri, to)
    return to


def jobs(
    output: str, judged: Sequence[Judged], again: Sequence[Judged], signing: Signing | None
) -> Iterator[tuple[Job, str]]:
    """The jobs that restore photos again, with the settings and weights that made them, and the photos of each in SQL.

    judged: all photos that decisions are about; other pages of a member are restored with the one that changes.
    Raises RunError, WeightsError or DetectorError.
    """
    for settings_digest, weights_digest in sorted(set(map(made_with, again))):
        attempt = attempt_with(output, settings_digest, weights_digest)
        if attempt is None:
            raise RunError(f"{output}/run.json: no attempt with settings {settings_digest[:12]}; restore a copy of it")
        settings = Settings.from_dict(attempt["settings"])
        if settings.signed and signing is None:
            raise RunError(f"{output}: its photos are signed; give --c2pa-key and --c2pa-cert")
        job = prepare(output, settings, signing if settings.signed else None)
        if job.weights_digest != weights_digest:
            raise RunError(
                f"{settings.weights}: not the weights that made these photos ({weights_digest[:12]}) any more"
            )
        own = [one for one in again if made_with(one) == (settings_digest, weights_digest)]
        members = {root_id(one.row["photo_id"]) for one in own}
        pages = [one for one in judged if root_id(one.row["photo_id"]) in members]
        yield replace(job, by="decide", verdicts={one.row["photo_id"]: one.verdict for one in pages}), condition(own)


def made_with(one: Judged) -> tuple[str, str]:
    """The digests of the settings and weights that made a row."""
    return one.row["settings_digest"] or "", one.row["weights_digest"] or ""


def condition(again: Iterable[Judged]) -> str:
    """The photos as a condition of `manifest.pending`, which asks about results, not about the index alone."""
    ids = ", ".join(f"'{one.row['photo_id']}'" for one in again)
    return f"status <> 'pending' AND photo_id IN ({ids})"
