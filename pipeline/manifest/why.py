"""What became of one photo: every row that the manifest has of it."""

from __future__ import annotations

from typing import Any

import duckdb

from pipeline.index.schema import ROOT_ID
from pipeline.manifest import query
from pipeline.manifest.schema import NEWEST_FIRST

MOST = 20  # members of the same name

# By photo_id, that of a page too, by the path of the member, or by the name at its end.
FOUND = f"""
SELECT i.photo_id, i.source, i.member, i.archive_name FROM index AS i
WHERE i.photo_id = $photo OR i.photo_id = (SELECT {ROOT_ID} FROM (SELECT $photo::VARCHAR AS photo_id))
    OR i.member = $photo OR ends_with(i.member, '/' || $photo)
ORDER BY i.source, i.member LIMIT {MOST}
"""
ROWS = f"""
SELECT * EXCLUDE (faces) FROM manifest WHERE {ROOT_ID} = $photo_id AND source = $source AND member = $member
ORDER BY photo_id, {NEWEST_FIRST}
"""


def why(output: str, photo: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The index rows that a photo_id or a member's name means, at most MOST, each with its manifest rows, newest first.

    Raises StorageError if there is no run at OUTPUT.
    """

    def found(connection: duckdb.DuckDBPyConnection) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        members = connection.sql(FOUND, params={"photo": photo}).to_arrow_table().to_pylist()
        return [
            (member, connection.sql(ROWS, params=_named(member)).to_arrow_table().to_pylist()) for member in members
        ]

    return query.reading(output, found, decided=False)


def _named(member: dict[str, Any]) -> dict[str, Any]:
    """The parameters of ROWS."""
    return {name: member[name] for name in ("photo_id", "source", "member")}
