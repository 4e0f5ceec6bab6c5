"""Files and rows that follow decisions, on a run made by hand: nothing is restored again."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.compaction import compact
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.manifest.write import write_part
from pipeline.run.decide import put_right, settle
from pipeline.run.prepare import RunError
from pipeline.run.superseded import remove_superseded
from pipeline.run.verdicts import Judged, Shown, judged
from pipeline.verify import files as verify_files
from tests.support.review_run import write_run
from tests.support.rows import START, face, result_row, write_old_part

A, PAIR, HOPPER = "box1/astronaut.jpg", "box2/pair.png", "box1/hopper.jpg"
STATES = "SELECT member, status, reviewed_as AS word, reviewed_by AS who FROM photos WHERE restored_uri IS NOT NULL"


@pytest.fixture
def output(tmp_path: Path) -> str:
    return write_run(tmp_path)


def decide(output: str, *decisions: tuple[str, int | None, str, str], name: str = "a", **columns: Any) -> None:
    """A file of decisions: member, face, decision and time of each, on the newest results."""
    ids = {row["member"]: row for row in asked(output, "FROM newest")}
    records = [
        {"photo_id": ids[member]["photo_id"], "face_index": number, "decision": word, "comment": "", "decided_at": time}
        | {"restored_sha256": ids[member]["restored_sha256"], "reviewer": "Anna"}
        | columns
        for member, number, word, time in decisions
    ]
    storage.write_bytes(f"{output}/decisions/{name}.json", json.dumps(records).encode())


def asked(output: str, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query.reading(output, lambda connection: query.run(connection, sql)).to_pylist()
    return found


def follow(output: str, faces: Shown = "all") -> list[Judged]:
    """Settle what can be settled; the photos that are to be restored again."""
    for _ in settle(output, judged(output, faces)):
        pass
    return [one for one in judged(output, faces) if one.moves or one.changes or not one.marked]


def states(output: str) -> dict[str, tuple[str, str | None, str | None]]:
    return {row["member"]: (row["status"], row["word"], row["who"]) for row in asked(output, STATES)}


def files(output: str) -> dict[str, str]:
    folders = [Path(output, name) for name in ("restored", "withdrawn")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_rejected_photo_is_set_aside_and_comes_back(output: str) -> None:
    before, indexed = files(output), counts(output)
    decide(output, (A, None, "reject", "2026-02-01T10:00:00Z"), (HOPPER, None, "accept", "2026-02-01T10:00:00Z"))
    assert follow(output) == []
    assert states(output)[A] == ("withdrawn", "reject", "Anna") and states(output)[HOPPER] == (
        "restored",
        "accept",
        "Anna",
    )
    after = files(output)
    assert after["withdrawn/scans.tar/box1/astronaut.jpg.png"] == before["restored/scans.tar/box1/astronaut.jpg.png"]
    assert sorted(after.values()) == sorted(before.values())
    found = counts(output)
    assert (found.restored, found.withdrawn, found.faces) == (indexed.restored - 1, 1, indexed.faces - 1)
    assert found.adds_up and len(pending(output)) == 0
    compact(output)
    assert counts(output) == found
    rows = asked(output, "SELECT count(*) AS n FROM manifest")
    assert list(settle(output, judged(output))) == [] and asked(output, "SELECT count(*) AS n FROM manifest") == rows

    decide(output, (A, None, "accept", "2026-02-02T10:00:00Z"), name="b", reviewer="Bert")
    assert follow(output) == [] and files(output) == before
    assert states(output)[A] == ("restored", "accept", "Bert")
    assert asked(output, "SELECT face_index, accepted FROM faces WHERE member = 'box1/astronaut.jpg'")[0]["accepted"]
    # A folder that lost its files of decisions undoes nothing.
    decide(output, (A, None, "reject", "2026-02-03T10:00:00Z"), name="b")
    follow(output)
    for name in "ab":
        storage.remove(f"{output}/decisions/{name}.json")
    assert follow(output) == [] and states(output)[A][0] == "withdrawn"


def test_a_face_needs_its_photo_restored_again(output: str) -> None:
    decide(output, (PAIR, 0, "reject", "2026-02-01T10:00:00Z"), (A, 0, "accept", "2026-02-01T10:00:00Z"))
    decide(output, (PAIR, None, "accept", "2026-02-01T09:00:00Z"), (HOPPER, None, "", "2026-02-01T09:00:00Z"), name="b")
    decide(output, (HOPPER, 0, "", "2026-02-01T09:00:00Z"), name="c", strength=0.25)
    found = {one.row["member"]: one.verdict for one in follow(output)}
    shown = {member: [(face.strength, face.accepted) for face in one.faces] for member, one in found.items()}
    assert shown == {PAIR: [(0, False), (1, True)], HOPPER: [(0.25, None)]}
    assert not found[PAIR].withdrawn and states(output)[A] == ("restored", None, "Anna")
    assert asked(output, "SELECT accepted FROM faces WHERE accepted") == [{"accepted": True}]  # that of A


def test_only_accepted_faces(output: str) -> None:
    before = files(output)
    decide(output, (PAIR, 1, "accept", "2026-02-01T10:00:00Z"), (HOPPER, None, "accept", "2026-02-01T10:00:00Z"))
    (left,) = follow(output, "accepted")
    assert [face.strength for face in left.verdict.faces] == [0, 1] and left.row["member"] == PAIR
    assert sorted(name.split("/")[0] for name in files(output)) == ["restored"] * 2 + ["withdrawn"] * 2
    assert states(output)[A] == ("withdrawn", None, None)
    assert follow(output) == [] and files(output) == before


def again(output: str, member: str, *faces: dict[str, Any]) -> None:
    """A newer row of a photo, as if it had been restored again, with news of its faces."""
    (row,) = asked(output, f"SELECT * FROM newest WHERE member = '{member}'")
    news = [one | new for one, new in zip(row["faces"], faces, strict=True)]
    later = {"faces": news, "finished_at": row["finished_at"] + timedelta(minutes=1)}
    write_part([{name: row[name] for name in MANIFEST_SCHEMA.names} | later], output, f"again {later}")


def test_faces_that_need_review_are_shown_once_they_are_accepted(output: str) -> None:
    before = files(output)
    again(output, A, {"needs_review": True})
    (left,) = follow(output, "reviewed")
    assert left.row["member"] == PAIR and [face.strength for face in left.verdict.faces] == [1, 0]
    assert states(output)[A] == ("withdrawn", None, None) and states(output)[HOPPER][0] == "restored"
    again(output, PAIR, {"strength": 1.0}, {"strength": 0.0})
    assert follow(output, "reviewed") == []
    decide(output, (PAIR, 1, "accept", "2026-02-01T10:00:00Z"), (A, None, "accept", "2026-02-01T10:00:00Z"))
    (left,) = follow(output, "reviewed")
    assert left.row["member"] == PAIR and [face.strength for face in left.verdict.faces] == [1, 1]
    assert states(output)[A] == ("restored", "accept", "Anna") and files(output) == before
    storage.remove(f"{output}/decisions/a.json")
    (left,) = follow(output)  # "all" brings the others back, though nobody decided on them
    assert left.row["member"] == PAIR and [face.strength for face in left.verdict.faces] == [1, 1]


def test_a_killed_move_is_made_good(output: str) -> None:
    before = files(output)
    decide(output, (A, None, "reject", "2026-02-01T10:00:00Z"))
    (one,) = judged(output)
    storage.move(one.row["restored_uri"], one.row["restored_uri"].replace("/restored/", "/withdrawn/"))
    assert follow(output) == [] and states(output)[A][0] == "withdrawn"
    assert sorted(files(output).values()) == sorted(before.values())
    # Set aside, then lost: the photo has to be restored again.
    storage.remove(f"{output}/withdrawn/scans.tar/box1/astronaut.jpg.png")
    decide(output, (A, None, "accept", "2026-02-02T10:00:00Z"), name="b")
    (left,) = follow(output)
    assert left.moves and states(output)[A][0] == "withdrawn"


def test_a_decision_that_was_taken_back_after_a_kill(output: str) -> None:
    """The file moved and its row was not written; then the curator thinks better of it."""
    before, aside = files(output), f"{output}/withdrawn/scans.tar/box1/astronaut.jpg.png"
    (row,) = asked(output, f"SELECT * FROM newest WHERE member = '{A}'")
    storage.move(row["restored_uri"], aside)
    assert aside in verify_files.unlisted(output, verify_files.restored(output)[1])
    put_right(output)
    assert files(output) == before and follow(output) == []
    # The other way round: brought back without a row, then rejected again.
    decide(output, (A, None, "reject", "2026-02-01T10:00:00Z"))
    follow(output)
    after = files(output)
    storage.move(aside, row["restored_uri"])
    put_right(output)
    assert files(output) == after
    # Neither an earlier result nor a file beside the one of the row is taken for it.
    storage.write_bytes(f"{output}/withdrawn/scans.tar/{HOPPER}.png", b"an earlier result")
    storage.write_bytes(row["restored_uri"], b"another")
    more = files(output)
    put_right(output)
    assert files(output) == more


def test_only_a_new_result_removes_the_files_of_earlier_ones(output: str) -> None:
    """A photo that was set aside and restored again: by an attempt that failed, then by one that did not."""
    decide(output, (A, None, "reject", "2026-02-01T10:00:00Z"))
    follow(output)
    aside, back = "withdrawn/scans.tar/box1/astronaut.jpg.png", "restored/scans.tar/box1/astronaut.jpg.png"
    storage.write_bytes(f"{output}/{back}", b"left behind")
    (row,) = asked(output, f"SELECT * FROM newest WHERE member = '{A}'")
    again = {name: row[name] for name in MANIFEST_SCHEMA.names}
    write_part([again | {"attempt": 2, "status": "failed", "restored_uri": None}], output, "2")
    remove_superseded(output, 2)
    assert {aside, back} <= files(output).keys()
    write_part([again | {"attempt": 3, "status": "restored", "restored_uri": f"{output}/{back}"}], output, "3")
    remove_superseded(output, 3)
    assert [name for name in files(output) if "astronaut" in name] == [back]


def test_an_output_that_was_moved_and_one_of_an_earlier_version(output: str, tmp_path: Path) -> None:
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    moved = str(tmp_path / "elsewhere")
    decide(moved, (A, None, "reject", "2026-02-01T10:00:00Z"))
    assert follow(moved) == [] and Path(moved, "withdrawn/scans.tar/box1/astronaut.jpg.png").exists()
    (row,) = asked(moved, f"SELECT * FROM newest WHERE member = '{HOPPER}'")
    uri = f"{moved}/restored/scans.tar/{HOPPER}.png"
    known: dict[str, Any] = {"faces": [face(0)], "restored_sha256": "c" * 64}
    old = result_row(HOPPER, minute=9, restored_uri=uri, photo_id=row["photo_id"], source=row["source"], **known)
    write_old_part(moved, [old])
    decide(moved, (HOPPER, None, "accept", "2026-02-01T10:00:00Z"), name="b")
    assert follow(moved) == [] and states(moved)[HOPPER] == ("restored", "accept", "Anna")
    newest = asked(moved, f"SELECT * FROM newest WHERE member = '{HOPPER}'")[0]
    assert newest["finished_at"] > old["finished_at"] > START and newest["restored_sha256"] == "c" * 64


def test_a_file_of_another_place_is_not_touched(output: str, tmp_path: Path) -> None:
    (row,) = asked(output, f"SELECT * FROM newest WHERE member = '{A}'")
    other = tmp_path / "other.png"
    other.write_bytes(b"elsewhere")
    known = {name: row[name] for name in ("photo_id", "source")} | {"restored_sha256": "d" * 64, "faces": [face(0)]}
    write_old_part(output, [result_row(A, minute=99, restored_uri=str(other), **known)])
    decide(output, (A, None, "reject", "2026-02-01T10:00:00Z"))
    with pytest.raises(RunError, match="run interlcm decide on the OUTPUT that has this file"):
        follow(output)
    assert other.exists()


def test_a_rejected_copy_is_set_aside_and_stays_a_photo_without_faces(output: str) -> None:
    """A photo that `--every-photo` put into restored/ as it is."""
    (row,) = asked(output, "SELECT * FROM newest WHERE status = 'no_face'")
    uri = f"{output}/restored/scans.tar/{row['member']}"
    storage.write_bytes(uri, b"as it is")
    news = {"restored_uri": uri, "restored_sha256": hashlib.sha256(b"as it is").hexdigest()}
    later = row["finished_at"] + timedelta(minutes=1)
    write_part([{name: row[name] for name in MANIFEST_SCHEMA.names} | news | {"finished_at": later}], output, "copy")
    before = files(output)
    decide(output, (row["member"], None, "reject", "2026-02-01T10:00:00Z"))
    assert follow(output) == [] and states(output)[row["member"]] == ("withdrawn", "reject", "Anna")
    assert f"withdrawn/scans.tar/{row['member']}" in files(output)
    decide(output, (row["member"], None, "accept", "2026-02-02T10:00:00Z"), name="b")
    assert follow(output) == [] and states(output)[row["member"]] == ("no_face", "accept", "Anna")
    assert files(output) == before
    assert [one.verdict.withdrawn for one in judged(output, "accepted") if not one.row["faces"]] == [False]
