"""The run of `review_run` after a curator's first look: one photo accepted, one rejected, one face rejected."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import storage
from pipeline.manifest import query
from tests.support.review_run import HOSTILE, write_run

COMMENT = "the left eye <looks> odd"
Said = tuple[str, int | None, str, str]  # member, face, decision, comment
DECIDED: tuple[Said, ...] = (
    ("box1/hopper.jpg", None, "accept", ""),
    ("box2/pair.png", 1, "reject", COMMENT),
    (HOSTILE, None, "reject", ""),
)
# Decisions on whole photos: nothing has to be restored again.
WHOLE: tuple[Said, ...] = (
    ("box1/astronaut.jpg", None, "reject", "not the face of this person"),
    ("box1/hopper.jpg", None, "accept", ""),
    ("box2/pair.png", None, "accept", ""),
)


def write_decided_run(folder: Path, decided: tuple[Said, ...] = DECIDED) -> str:
    """Write the run below `folder` with its decisions; returns OUTPUT. It has seven members, four of them restored."""
    output = write_run(folder)
    with query.connect(output) as connection:
        rows = query.run(connection, "SELECT member, photo_id FROM photos").to_pylist()
    ids = {row["member"]: row["photo_id"] for row in rows}
    names = ("photo_id", "face_index", "decision", "comment", "decided_at", "reviewer")
    how = ("2026-02-01T10:00:00Z", "Anna")
    said = [dict(zip(names, (ids[member], *rest, *how), strict=True)) for member, *rest in decided]
    storage.write_bytes(storage.join(output, "decisions", "curator.json"), json.dumps(said).encode())
    return output
