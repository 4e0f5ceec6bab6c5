"""What the decisions of curators say of each photo, beside what its newest row shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import duckdb

from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.verdict import FaceVerdict, Verdict
from pipeline.manifest import query
from pipeline.run.attempts import attempts
from pipeline.storage.output import Output

Row = dict[str, Any]
Decided = Mapping[int | None, Row]  # the decisions that count on one photo, by face_index; None: the photo as a whole
# Faces that the output shows: all that nobody rejected; of those that need review the accepted ones alone; or the
# accepted ones alone.
Shown = Literal["all", "reviewed", "accepted"]

COUNTING = "SELECT * FROM decisions WHERE void IS NULL"
# The newest rows of photos that have a file in the output, {which} of them.
ROWS = """
SELECT newest.*, i.archive_name FROM newest JOIN index AS i ON i.photo_id = newest.index_id
WHERE newest.restored_uri IS NOT NULL AND ({which}) ORDER BY newest.source, newest.member, newest.page
"""
DECIDED = f"""
newest.status = 'withdrawn' OR reviewed_at IS NOT NULL OR newest.photo_id IN (SELECT photo_id FROM ({COUNTING}))
"""
# An earlier call with another choice of faces left some as they were, though nobody decided so.
HELD = f"({DECIDED}) OR len(list_filter(newest.faces, lambda face: face.strength = 0 AND face.accepted IS NULL)) > 0"
WHICH = {
    "all": HELD,
    "reviewed": f"{HELD} OR len(list_filter(newest.faces, lambda face: face.needs_review)) > 0",
    "accepted": "true",
}
# Decisions, joined with photos, that nothing in the output can follow.
IDLE = "(decision <> '' OR strength >= 0) AND (void <> '' OR restored_uri IS NULL)"
ENOUGH = 1e-6  # difference of two strengths: the manifest has them in single precision


@dataclass(frozen=True)
class Judged:
    """A photo with a file in the output, about which there are decisions: its newest row, and how it is to be shown."""

    row: Row
    verdict: Verdict

    @property
    def moves(self) -> bool:
        """Whether its file is to be set aside, or brought back."""
        return self.verdict.withdrawn != (self.row["status"] == "withdrawn")

    @property
    def changes(self) -> bool:
        """Whether its faces are to be shown with other strengths; a photo that is set aside stays as it is."""
        pairs = zip(self.row["faces"], self.verdict.faces, strict=True)
        return not self.verdict.withdrawn and any(differs(strength(face), new.strength) for face, new in pairs)

    @property
    def open(self) -> bool:
        """Whether the output does not follow the decisions on this photo yet."""
        return self.moves or self.changes or not self.marked

    @property
    def marked(self) -> bool:
        """Whether the row has the decision already."""
        return shown(self.row) == replace(self.verdict, faces=tuple(strengths_of(self.row, self.verdict)))


def strengths_of(row: Row, verdict: Verdict) -> Iterator[FaceVerdict]:
    """The faces of a verdict with the strengths that a row has."""
    for face, new in zip(row["faces"], verdict.faces, strict=True):
        yield replace(new, strength=strength(face))


def strength(face: Row) -> float:
    """That of a face of the manifest; it is full in rows of versions that had no other."""
    return 1.0 if face["strength"] is None else float(face["strength"])


def differs(one: float, other: float) -> bool:
    """Whether two strengths are not the same."""
    return abs(one - other) > ENOUGH


def shown(row: Row) -> Verdict:
    """The verdict that a row of the manifest follows already."""
    faces = tuple(FaceVerdict(tuple(face["box"]), strength(face), face["accepted"]) for face in row["faces"])
    return Verdict(row["status"] == "withdrawn", row["reviewed_as"], row["reviewed_by"], row["reviewed_at"], faces)


def judged(output: str, faces: Shown = "all") -> list[Judged]:
    """The photos that decisions are about: with "reviewed" those too that need review, with "accepted" all,
    and always those of which an earlier call left faces as they were.

    Raises StorageError, DecisionError or AttemptsError.
    """
    full = {one["settings_digest"]: one["settings"].get("strength", 1.0) for one in attempts(output)}

    def found(connection: duckdb.DuckDBPyConnection) -> list[Judged]:
        decided: dict[str, dict[int | None, Row]] = {}
        for one in query.run(connection, COUNTING).to_pylist():
            decided.setdefault(one["photo_id"], {})[one["face_index"]] = one
        rows = query.run(connection, ROWS.format(which=WHICH[faces])).to_pylist()
        return [
            Judged(row, verdict(row, decided.get(row["photo_id"], {}), faces, full.get(row["settings_digest"], 1.0)))
            for row in rows
        ]

    return query.reading(output, found)


def without_effect(output: str) -> int:
    """The number of decisions that nothing in the output can follow. Raises as `judged`."""
    sql = f"SELECT count(*) AS n FROM decisions LEFT JOIN photos USING (photo_id) WHERE {IDLE}"
    return int(query.reading(output, lambda connection: query.run(connection, sql))["n"][0].as_py())


def verdict(row: Row, decided: Decided, faces: Shown, full: float) -> Verdict:
    """How a photo is to be shown. full: the strength of its run.

    A photo whose decisions are not in the folder any more stays as it is: a withdrawn decision is a row, not a gap.
    """
    whole = decided.get(None)
    judgements = tuple(face_verdict(face, decided.get(face["face_index"]), whole, faces, full) for face in row["faces"])
    kept = shown(row)
    counting = kept.reviewed_at or any(one["decision"] or one["strength"] is not None for one in decided.values())
    newest: Row | None = max(decided.values() if counting else (), key=decided_at, default=None)  # not a mere comment
    made = Verdict(
        withdrawn=kept.reviewed_as == "reject" if whole is None else whole["decision"] == "reject",
        reviewed_as=kept.reviewed_as if whole is None else whole["decision"],
        reviewed_by=kept.reviewed_by if newest is None else newest["reviewer"],
        reviewed_at=kept.reviewed_at if newest is None else newest["decided_at"],
        faces=judgements,
    )
    if faces != "all" and judgements and not any(one.strength > 0 for one in judgements):
        made = replace(made, withdrawn=True)
    return replace(made, faces=tuple(strengths_of(row, made))) if made.withdrawn else made


def decided_at(decision: Row) -> datetime:
    found: datetime = decision["decided_at"]
    return found


def face_verdict(face: Row, own: Row | None, whole: Row | None, faces: Shown, full: float) -> FaceVerdict:
    """How a face is to be shown. own, whole: the decisions on the face and on its photo; None: there is none."""
    box = tuple(face["box"])
    if own is None and whole is None and face["accepted"] is not None:
        return FaceVerdict(box, strength(face), face["accepted"])
    decisions = [one for one in (own, whole) if one is not None]
    word = next((one["decision"] for one in decisions if one["decision"]), None)
    share = next((one["strength"] for one in decisions if one["strength"] is not None), full)
    asked = faces == "accepted" or (faces == "reviewed" and face["needs_review"])
    if word == "reject" or (asked and word != "accept"):
        share = 0.0
    return FaceVerdict(box, share, None if word is None else word == "accept")


def heeding(job: Job, where: str) -> tuple[Job, str, int]:
    """The job and the condition of a run that restores photos again and heeds the decisions on them.

    A photo that comes out as it was judged, because file, settings, weights and software are the same, keeps its
    decisions: strengths stay, a withdrawn file stays aside. Any other result is a new one, about which nobody has
    decided yet. A condition that asks about decisions chooses only among photos whose result would be a new one; the
    last value is the number of the others.
    """
    if not storage.exists(Output(job.output).decisions):
        return job, where, 0
    made = {"settings_digest": job.settings.digest(), "weights_digest": job.weights_digest}
    made |= {"software_version": job.software_version}
    same = {one.row["photo_id"]: one.verdict for one in judged(job.output) if made.items() <= one.row.items()}
    left_out = list(same) if re.search(r"\bdecisions\b", where) else []
    if left_out:
        where = f"(\n{where}\n) AND photo_id NOT IN ({', '.join(map(repr, left_out))})"
    return replace(job, verdicts=same), where, len(left_out)
