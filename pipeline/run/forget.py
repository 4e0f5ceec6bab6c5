"""Take photos out of a run for good: restored files, crops, pictures of the report, decisions, names and measures.

The order makes it safe to be killed: first a row says that the photo is removed, so that it is never restored again;
then its files go, then its rows, which name them, and last its name in the index. Until all is gone, `unfinished` finds
the photo by these rows, so any later call ends what an earlier one began.
"""

from __future__ import annotations

import glob
import re
import uuid
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from interlcm.errors import InterLCMError
from pipeline import storage
from pipeline.index import copies
from pipeline.index import removed as index_removed
from pipeline.index.schema import ROOT_ID
from pipeline.manifest import compaction, decisions, erase, query
from pipeline.manifest import pending as manifest_pending
from pipeline.manifest.schema import REMOVED
from pipeline.manifest.write import write_part
from pipeline.photos.suffixes import SUFFIXES
from pipeline.run import status
from pipeline.run.attempts import last_number
from pipeline.run.lease import remove_leftovers
from pipeline.stages.names import NAMES, restored_path
from pipeline.storage import local_disk
from pipeline.storage.output import FILES as OWN_FILES
from pipeline.storage.output import FOLDERS, Output

Row = dict[str, Any]

PART = 8192  # rows of a manifest part
ID = re.compile("[0-9a-f]{20}")  # a photo_id in the name of a file
# Photos of which a row says that they were removed, and of which something is left.
UNFINISHED = f"""
WITH said AS (SELECT DISTINCT {ROOT_ID} AS root FROM manifest WHERE status = '{REMOVED}')
SELECT {ROOT_ID} AS photo_id FROM manifest WHERE {ROOT_ID} IN (FROM said) AND NOT (status = '{REMOVED}' AND member = '')
UNION SELECT photo_id FROM index WHERE photo_id IN (FROM said) AND kind <> '{index_removed.KIND}'
UNION SELECT {ROOT_ID} FROM exported WHERE {ROOT_ID} IN (FROM said)
"""
# Every file that a row of these photos names or named.
FILES = f"""
SELECT DISTINCT m.uri, i.archive_name
FROM (SELECT restored_uri AS uri, {ROOT_ID} AS root FROM manifest WHERE restored_uri IS NOT NULL) AS m
LEFT JOIN index AS i ON i.photo_id = m.root WHERE m.root IN (SELECT photo_id FROM chosen)
"""
# Files below restored/, of those in `found`, that another photo names.
OWNED = """
SELECT path FROM found WHERE EXISTS (
    SELECT 1 FROM newest WHERE ends_with(restored_uri, '/' || path) AND index_id NOT IN (SELECT photo_id FROM chosen))
"""
# Their pages beyond the first one of each.
FURTHER = f"SELECT count(*) - count(DISTINCT {ROOT_ID}) AS n FROM newest WHERE {ROOT_ID} IN (FROM chosen)"
REASONS = f"""
SELECT photo_id, max(error) AS reason, max(finished_at) AS finished_at, bool_or(member = '') AS said
FROM manifest WHERE status = '{REMOVED}' GROUP BY photo_id
"""


class ForgetError(InterLCMError):
    """Something is left of a photo: one line with the remedy."""


@dataclass(frozen=True)
class Found:
    """What is to be removed: the index rows of the members, and the photo_ids of those of an earlier call.

    photos: the number of photos in `rows` as `interlcm status` counts them, a page of a member being one.
    """

    rows: list[Row]
    begun: list[str]
    photos: int

    @property
    def ids(self) -> set[str]:
        return {row["photo_id"] for row in self.rows} | set(self.begun)


def find(output: str, where: str) -> Found:
    """The photos that match, with all their pages, and those that an earlier call left half removed.

    Raises StorageError if there is no run at OUTPUT, QueryError for a condition that DuckDB refuses, DecisionError for
    a damaged file of decisions.
    """
    decisions.read_decisions(output)  # it is rewritten later: a damaged file is told before anything is removed
    rows = manifest_pending.selected(output, where)
    begun = query.reading(output, lambda connection: query.run(connection, UNFINISHED))
    ids = {row["photo_id"] for row in rows}
    further = asked(output, FURTHER, ids)[0]["n"] if ids else 0
    return Found(rows, sorted(set(begun["photo_id"].to_pylist()) - ids), len(rows) + further)


def forget(output: str, found: Found, reason: str | None) -> int:
    """Remove these photos; returns the number of files that went. The caller holds the lease.

    Raises StorageError if storage fails, ForgetError if something else wrote rows of these photos meanwhile.
    """
    ids, place = found.ids, Output(output)
    if not ids:
        return 0
    remove_leftovers(output)
    compaction.compact_if_many(output, whole=False)  # the manifest is asked a dozen times
    said = [removed_row(row, row["member"], reason) for row in found.rows]
    write_rows(said, output)
    named = index_rows(output, ids)
    gone = remove_restored(output, place.restored, ids, named) + remove_restored(output, place.withdrawn, ids, named)
    gone += remove_by_id(place.faces, ids) + remove_report(place.report, ids)
    erase.erase_decisions(output, ids)
    write_rows(blank_rows(output, ids), output)
    erase.erase_rows(output, ids)
    index_removed.erase(output, ids)
    copies.kept(output)
    if find(output, "false").begun:
        raise ForgetError(f"{output}: a compaction wrote rows of these photos meanwhile; start the same command again")
    compaction.compact(output)
    status.count_run(output)
    return len(gone)


def beside(output: str) -> list[str]:
    """Files and folders in OUTPUT that are not the run's own, such as exports and tables for ingest."""
    names = {uri.rpartition("/")[2] for uri, *_ in storage.glob(f"{glob.escape(output)}/*")}
    return sorted(names - {*OWN_FILES, *FOLDERS})


def removed_row(row: Row, member: str, reason: str | None) -> Row:
    known = {"photo_id": row["photo_id"], "source": row["source"], "member": member, "page": 1, "pages": 1}
    return known | {"status": REMOVED, "error": reason, "faces": [], "finished_at": datetime.now(UTC)}


def write_rows(rows: Sequence[Row], output: str) -> None:
    number = last_number(output) or None
    for first in range(0, len(rows), PART):
        part = [row | {"attempt": number} for row in rows[first : first + PART]]
        write_part(part, output, f"forget {uuid.uuid4().hex}")


def blank_rows(output: str, ids: Set[str]) -> list[Row]:
    """The rows that stay, of those photos that have none yet."""
    rows = asked(output, f"SELECT *, source FROM ({REASONS}) JOIN index USING (photo_id)", ids)
    known = [row for row in rows if row["photo_id"] in ids and not row["said"]]
    return [removed_row(row, "", row["reason"]) | {"finished_at": row["finished_at"]} for row in known]


def index_rows(output: str, ids: Set[str]) -> list[Row]:
    return asked(output, "SELECT * FROM index WHERE photo_id IN (SELECT photo_id FROM chosen)", ids)


def asked(output: str, sql: str, ids: Set[str], **tables: pa.Table) -> list[Row]:
    """The rows of a query that may use `chosen`, the photo_ids."""
    tables |= {"chosen": pa.table({"photo_id": pa.array(sorted(ids), pa.string())})}

    def work(connection: duckdb.DuckDBPyConnection) -> list[Row]:
        for name, table in tables.items():
            connection.register(name, table)
        rows: list[Row] = query.run(connection, sql).to_pylist()
        return rows

    return query.reading(output, work, decided=False)


def remove_restored(output: str, folder: str, ids: Set[str], named: Iterable[Row]) -> list[str]:
    """Files of these photos in restored/ or withdrawn/: that rows name, that have a photo_id in their name, and those
    of a killed worker, which no row names, by the names that the photos could have."""
    place = Output(output)
    uris = [place.now(row["uri"], row["archive_name"]) for row in asked(output, FILES, ids)]
    paths = {uri.removeprefix(f"{own}/") for uri in uris for own in (place.restored, place.withdrawn)}
    members = [row for row in named if row["member"]]
    possible = {
        restored_path({**row, "page": 1, "pages": pages}, format, names)
        for row in members
        for pages in (1, 2)
        for format in SUFFIXES
        for names in NAMES
    }
    there = [path for path, *_ in entries(folder)]
    sure = [path for path in there if path in paths or not ids.isdisjoint(ID.findall(path))]
    maybe = sorted(possible.intersection(there) - set(sure))
    if maybe:
        owned = asked(output, OWNED, ids, found=pa.table({"path": maybe}))
        sure += sorted(set(maybe) - {row["path"] for row in owned})
    return removed_files(folder, sure)


def remove_by_id(folder: str, ids: Set[str]) -> list[str]:
    """Files with one of these photo_ids in their path."""
    return removed_files(folder, [path for path, *_ in entries(folder) if not ids.isdisjoint(ID.findall(path))])


def remove_report(report: str, ids: Set[str]) -> list[str]:
    """The report but for the pictures of other photos: its pages have names and measures, and are soon made again."""
    gone = [
        path for path, *_ in entries(report) if not path.startswith("pictures/") or not ids.isdisjoint(ID.findall(path))
    ]
    return removed_files(report, gone)


def entries(folder: str) -> list[tuple[str, str, int, str]]:
    return list(storage.entries(folder)) if storage.exists(folder) else []


def removed_files(folder: str, paths: list[str]) -> list[str]:
    storage.remove_all(folder, paths)
    if storage.is_local(folder):
        local_disk.remove_empty(Path(folder))  # a folder may be named like a person
    return paths
