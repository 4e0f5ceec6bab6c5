"""The equation of a run: indexed = restored + no_face + skipped + failed + withdrawn + pending."""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from pipeline.index.schema import ROOT_ID
from pipeline.manifest import query
from pipeline.manifest.schema import REMOVED, STATUSES

MEMORY = "800MB"  # of DuckDB while it compares an index and a manifest of 10^7 rows; the rest goes to disk
# The photo_id of a manifest row's index row: the photo_id of a further page ends with its number.
ROOT = f"CASE WHEN page > 1 THEN {ROOT_ID} ELSE photo_id END"
# The newest row of each photo in the index, with only the columns that counting needs. The log keeps the row of a
# broken archive that was repaired and indexed anew, but its index row is gone. Of a photo that `interlcm forget` has
# begun to remove, other rows may be left.
RESULTS = f"""
CREATE TEMP TABLE results AS
    SELECT {ROOT} AS root, page, pages, status, error_type, face_count, attempt, finished_at,
        list_distinct(list_transform(warnings, lambda one: one.kind)) AS kinds
    FROM newest WHERE {ROOT} IN (SELECT photo_id FROM index);
DELETE FROM results WHERE status <> '{REMOVED}' AND root IN (SELECT root FROM results WHERE status = '{REMOVED}');
"""
# Members with several pages: their number by the newest row, and which of them have a row. An older row may belong to
# a page beyond that number. It stays a result, but such pages do not count as missing, or a file that lost a page
# would never be complete.
MEMBERS = """
CREATE TEMP TABLE members AS
    SELECT root, max_by(pages, (coalesce(attempt, 0), finished_at)) AS pages, list(DISTINCT page) AS present
    FROM results WHERE root IN (SELECT root FROM results WHERE pages > 1) GROUP BY root;
CREATE TEMP VIEW incomplete AS
    SELECT root, unnest(list_filter(range(1, pages + 1), lambda page: NOT list_contains(present, page))) AS page
    FROM members;
CREATE TEMP VIEW untouched AS
    SELECT photo_id AS root FROM index ANTI JOIN (SELECT root AS photo_id FROM results) USING (photo_id)
    UNION ALL SELECT root FROM results WHERE status = 'pending';
"""


@dataclass(frozen=True)
class Counts:
    """The equation of a run, each term counted separately. All count photos, except `faces`, and `removed`,
    which counts members: their pages are not known any more.

    `indexed` counts index rows and the further pages that a row says its member has; the terms on the other side count
    rows by status, and the pages and index rows that have none. So the equation holds when each index row is there
    once, each page of a member has one row, and each row has a status that is known. It does not hold either when
    results come from a source that the index does not have.
    """

    indexed: int
    restored: int
    no_face: int
    skipped: int
    failed: int
    pending: int
    faces: int
    failures: dict[str, int]  # error_type -> failed photos, most frequent first
    lost: dict[str, int]  # source -> photos with a result, for sources that the index no longer has, most first
    withdrawn: int = 0
    removed: int = 0
    warnings: dict[str, int] = field(default_factory=dict)  # kind -> photos with such a warning, most frequent first

    @property
    def adds_up(self) -> bool:
        done = self.restored + self.no_face + self.skipped + self.failed + self.withdrawn + self.removed
        return not self.lost and self.indexed == done + self.pending


FURTHER = "SELECT sum(pages + len(list_filter(present, lambda page: page > pages)) - 1) FROM members"
FAILURES = """
SELECT coalesce(error_type, 'unknown'), count(*) FROM results WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1
"""
# A source whose index file is gone. (One that was mended has a new one, with other rows perhaps.)
LOST = """
SELECT source, count(DISTINCT photo_id) FROM manifest ANTI JOIN sources USING (source)
GROUP BY source ORDER BY 2 DESC, 1
"""
WARNINGS = "SELECT kind, count(*) FROM (SELECT unnest(kinds) AS kind FROM results) GROUP BY 1 ORDER BY 2 DESC, 1"


def counts(output: str) -> Counts:
    """Count the index, the newest results of its photos, and the photos without one.

    Raises `StorageError` if there is no run at OUTPUT.
    """
    return query.reading(output, count_rows, decided=False, memory=MEMORY, whole=True)


def count_rows(connection: duckdb.DuckDBPyConnection) -> Counts:
    """`counts` on a connection from `query.connect`, which then also has the table `results`."""
    connection.execute(RESULTS + MEMBERS)

    def number(sql: str) -> int:
        return int(query.run(connection, sql)[0][0].as_py() or 0)

    by_status = pairs(connection, "SELECT status, count(*) FROM results GROUP BY status")
    return Counts(
        indexed=number("SELECT count(*) FROM index") + number(FURTHER),
        **{status: by_status.get(status, 0) for status in STATUSES},
        removed=number(f"SELECT count(DISTINCT root) FROM results WHERE status = '{REMOVED}'"),
        pending=number("SELECT count(*) FROM untouched") + number("SELECT count(*) FROM incomplete"),
        faces=number("SELECT sum(face_count) FROM results WHERE status = 'restored'"),
        failures=pairs(connection, FAILURES),
        lost=pairs(connection, LOST),
        warnings=pairs(connection, WARNINGS),
    )


def pairs(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, int]:
    """A query of names and numbers, in its order."""
    table = query.run(connection, sql)
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))
