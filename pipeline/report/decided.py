"""The decisions in OUTPUT/decisions/, as data files that the page starts with."""

from __future__ import annotations

from typing import Any

from pipeline.index.schema import ROOT_ID
from pipeline.manifest import query
from pipeline.manifest.schema import REMOVED
from pipeline.report.files import PAGE_ROWS, DataFiles, Parts

FIELDS = (
    *("photo_id", "face_index", "decision", "comment", "decided_at", "reviewer", "restored_sha256"),
    *("box", "strength"),
)
# All decisions in the order of time, but for those on photos that were taken out for good.
STANDING = f"""
SELECT * FROM exported WHERE {ROOT_ID} NOT IN (SELECT {ROOT_ID} FROM newest WHERE status = '{REMOVED}') ORDER BY number
"""


def write_decisions(output: str, files: DataFiles) -> dict[str, Any]:
    """Write the newest decision of each reviewer, since the page shows where they differ. Raises DecisionError.

    Returns what the page needs to know about these files.
    """
    parts = Parts(files, "decisions", PAGE_ROWS)
    rows = query.reading(output, lambda connection: query.run(connection, STANDING)).to_pylist()
    newest = {(row["photo_id"], row["face_index"], row["reviewer"]): row for row in rows}
    for row in newest.values():
        row["decided_at"] = row["decided_at"].isoformat()
        parts.add([row[name] for name in FIELDS])
    parts.close()
    return {"decision_fields": FIELDS, "decision_files": len(parts.starts)}
