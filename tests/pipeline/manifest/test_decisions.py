"""Decisions as the report exports them, and files that are not decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.faces.face import iou
from pipeline.manifest import decisions, query, standing
from pipeline.manifest.decisions import DecisionError
from pipeline.manifest.schema import DECISION_SCHEMA
from pipeline.manifest.write import write_part
from tests.support.rows import face, index_row, result_row, write_index

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
WORDS = 'too smooth, "wax"\nno'
HEADER = "photo_id,face_index,decision,comment,decided_at"
FIRST = HEADER.split(",")
LATER = ",reviewer,restored_sha256,box,strength"
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
LEFT, RIGHT = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 40.0, 20.0]
FACES = [face(0, box=LEFT), face(1, box=RIGHT)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_index(str(tmp_path), [index_row("a.jpg")])
    (tmp_path / "decisions").mkdir()
    return tmp_path


def record(**columns: Any) -> bytes:
    """A JSON file with one decision."""
    sound = {"photo_id": "p", "face_index": 0, "decision": "", "comment": "", "decided_at": "2026-01-01"}
    return json.dumps([sound | columns]).encode()


def put(output: Path, name: str, *lines: str, later: str = "") -> None:
    (output / "decisions" / name).write_text("\r\n".join([HEADER + later, *lines, ""]))


def decided(output: Path, *names: str) -> list[dict[str, Any]]:
    """The rows of the view; names: other columns than those of the first exports."""
    columns = ", ".join(names or FIRST)
    return query.reading(
        str(output), lambda c: query.run(c, f"SELECT {columns} FROM decisions ORDER BY ALL")
    ).to_pylist()


def verdicts(output: Path) -> list[tuple[Any, ...]]:
    """Face, decision and why it does not count, of the photo a.jpg."""
    return [tuple(row.values()) for row in decided(output, "face_index", "decision", "void")]


def test_without_decisions_the_view_is_empty(output: Path) -> None:
    with query.connect(str(output)) as connection:
        none = query.run(connection, "FROM decisions")
    put(output, "mine.csv", "p1,,reject,,2026-03-01T10:00:00Z")
    with query.connect(str(output)) as connection:
        one = query.run(connection, "FROM decisions")
    assert (none.num_rows, one.num_rows) == (0, 1)
    assert none.schema.names == DECISION_SCHEMA.names and none.schema == one.schema


def test_csv_and_json_say_the_same(output: Path) -> None:
    put(
        output,
        "mine.csv",
        'p1,,reject,"too smooth, ""wax""\nno",2026-03-01T10:00:00Z',
        "p1,2,accept,,2026-03-01T11:00:00+01:00",
    )
    from_csv = decided(output)
    assert from_csv == [
        {"photo_id": "p1", "face_index": 2, "decision": "accept", "comment": "", "decided_at": TEN},
        {"photo_id": "p1", "face_index": None, "decision": "reject", "comment": WORDS, "decided_at": TEN},
    ]
    records = [row | {"decided_at": row["decided_at"].isoformat()} for row in from_csv]
    whole = decided(output, *(set(DECISION_SCHEMA.names) - set(FIRST)))[0]
    assert whole == dict.fromkeys(whole) | {"file": "mine.csv", "void": standing.NO_RESULT}  # of an earlier version
    (output / "decisions" / "mine.csv").unlink()
    (output / "decisions" / "mine.json").write_text(json.dumps(records))
    assert decided(output) == from_csv


def test_the_newest_of_a_photo_and_of_a_face_counts(output: Path) -> None:
    put(output, "anna.csv", "p1,,reject,,2026-03-02T00:00:00Z", "p1,0,reject,,2026-03-01T00:00:00Z")
    put(output, "bert.csv", "p1,,accept,,2026-03-01T00:00:00Z", "p1,0,,unsure,2026-03-03T00:00:00Z")
    assert [(row["face_index"], row["decision"], row["comment"]) for row in decided(output)] == [
        (0, None, "unsure"),
        (None, "reject", ""),
    ]


def test_what_was_judged_by_whom_and_with_which_strength(output: Path) -> None:
    put(output, "a.csv", f"p1,1,accept,,2026-03-01,Zoë,{A},1 2.5 3 4,0.25", "p1,,,,2026-03-01,,,,", later=LATER)
    from_csv = decided(output, "face_index", "reviewer", "restored_sha256", "box", "strength")
    assert from_csv == [
        {"face_index": 1, "reviewer": "Zoë", "restored_sha256": A, "box": [1, 2.5, 3, 4], "strength": 0.25},
        {"face_index": None} | dict.fromkeys(("reviewer", "restored_sha256", "box", "strength")),
    ]
    (output / "decisions" / "a.csv").unlink()
    rows = [row | {"photo_id": "p1", "decision": "", "comment": "", "decided_at": "2026-03-01"} for row in from_csv]
    (output / "decisions" / "a.json").write_text(json.dumps(rows))
    assert decided(output, "face_index", "reviewer", "restored_sha256", "box", "strength") == from_csv


def test_a_withdrawn_decision_is_a_row_that_wins(output: Path) -> None:
    write_part([result_row("a.jpg", restored_sha256=A, faces=FACES)], str(output), "1")
    put(output, "1.csv", "id-a.jpg,,accept,,2026-03-01T10:00:00Z")
    assert verdicts(output) == [(None, "accept", None)]
    put(output, "2.csv", "id-a.jpg,,,,2026-03-01T10:00:00Z")  # in the same second
    assert verdicts(output) == [(None, None, None)]


def test_a_newer_result_makes_a_decision_void_and_what_follows_it_does_not(output: Path) -> None:
    write_part([result_row("a.jpg", restored_sha256=A, faces=FACES, attempt=1)], str(output), "1")
    put(output, "1.csv", f"id-a.jpg,,accept,,2026-03-01,,{A},,", f"id-a.jpg,0,reject,,2026-03-01,,{A},,", later=LATER)
    both = [(0, "reject", None), (None, "accept", None)]
    assert verdicts(output) == both
    # decide made a result of it: the decisions on the first one count, and so do those on this one.
    followed = result_row("a.jpg", minute=1, restored_sha256=B, faces=FACES, reviewed_at=TEN, attempt=2)
    write_part([followed], str(output), "2")
    put(output, "2.csv", f"id-a.jpg,1,reject,,2026-03-01,,{B},,", f"id-a.jpg,0,accept,,2026-04-01,,{C},,", later=LATER)
    assert verdicts(output) == [both[0], (1, "reject", None), both[1]]  # nobody knows the result C
    # Restored again with other settings: nobody has seen it yet.
    newer = result_row("a.jpg", minute=2, restored_sha256=C, faces=FACES, attempt=3)
    write_part([newer], str(output), "3")
    void = standing.NEWER
    assert verdicts(output) == [(0, "accept", None), (1, "reject", void), (None, "accept", void)]
    # ... and again, as it was first.
    write_part([newer | {"restored_sha256": A, "attempt": 4}], str(output), "4")
    assert verdicts(output) == [both[0], (1, "reject", void), both[1]]


def test_an_older_export_counts_if_it_is_later_than_the_result(output: Path) -> None:
    write_part([result_row("a.jpg", restored_sha256=A, faces=FACES, attempt=1)], str(output), "1")
    put(output, "1.csv", "id-a.jpg,1,reject,,2026-01-01T00:10:00Z", "id-a.jpg,2,reject,,2026-01-01T00:10:00Z")
    assert verdicts(output) == [(1, "reject", None), (2, "reject", standing.NO_FACE)]
    write_part([result_row("a.jpg", minute=9, restored_sha256=B, faces=FACES, attempt=2)], str(output), "2")
    assert verdicts(output)[0] == (1, "reject", None)
    write_part([result_row("a.jpg", minute=11, restored_sha256=B, faces=FACES, attempt=3)], str(output), "3")
    assert verdicts(output)[0] == (1, "reject", standing.NEWER)
    write_part([result_row("a.jpg", "pending", minute=12, attempt=3)], str(output), "4")
    assert {void for *_, void in verdicts(output)} == {standing.NEWER}


def test_a_face_is_found_by_its_place(output: Path) -> None:
    swapped = [face(0, box=[21, 1, 40, 20]), face(1, box=LEFT)]
    write_part([result_row("a.jpg", restored_sha256=A, faces=swapped)], str(output), "1")
    near, far = "20 0 40 20", "200 0 240 20"
    put(output, "1.csv", *(f"id-a.jpg,1,reject,,2026-03-01,,{A},{box}," for box in (near, far)), later=LATER)
    assert verdicts(output) == [(0, "reject", None), (1, "reject", standing.NO_FACE)]
    assert iou(LEFT, LEFT) == 1 and iou(LEFT, RIGHT) == 0 and iou([0, 0, 2, 1], [1, 0, 3, 1]) == pytest.approx(1 / 3)


def test_other_files_are_left_alone(output: Path) -> None:
    (output / "decisions" / "README.txt").write_text("not for machines")
    assert decided(output) == []


def test_decisions_join_with_photos_and_cannot_be_written(output: Path) -> None:
    put(output, "mine.csv", "id-a.jpg,,reject,,2026-03-02T00:00:00Z")
    with query.connect(str(output)) as connection:
        joined = query.run(connection, "SELECT member, decision FROM index JOIN decisions USING (photo_id)").to_pylist()
        assert joined == [{"member": "a.jpg", "decision": "reject"}]
        with pytest.raises(query.QueryError):
            query.run(connection, "DELETE FROM decisions")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", f"{HEADER}\np1,,maybe,,2026-03-01T00:00:00Z\n".encode(), "row 1: decision 'maybe' is not one of"),
        ("a.csv", f"{HEADER}\np1,,accept,,2026-03-01T00:00:00Z\n,,accept,,x\n".encode(), "row 2: a decision"),
        ("a.csv", f"{HEADER}\np1,-1,accept,,2026-03-01T00:00:00Z\n".encode(), "face_index '-1' is not a face"),
        ("a.csv", f"{HEADER}\np1,1e9999,accept,,2026-03-01T00:00:00Z\n".encode(), "row 1: "),
        ("a.csv", f"{HEADER}\np1,{'9' * 5000},accept,,2026-03-01T00:00:00Z\n".encode(), "row 1: "),
        ("a.csv", f"{HEADER}\np1,,accept,,9999-01-01T00:00:00Z\n".encode(), "row 1: decided_at 9999-01"),
        ("a.csv", f"{HEADER}\np1,,accept,,yesterday\n".encode(), "row 1: Invalid isoformat"),
        ("a.csv", f"{HEADER}\np1,,accept,,0001-01-01T00:00:00+23:00\n".encode(), "row 1: "),
        ("a.csv", f"{HEADER}\np1\n".encode(), "row 1: "),
        ("a.csv", f'{HEADER}\np1,,accept,"half,2026-03-01T00:00:00Z\n'.encode(), "unexpected end of data"),
        ("a.csv", f"{HEADER}\np1,,accept,{'x' * 200_000},2026-03-01T00:00:00Z\n".encode(), "larger than field limit"),
        ("a.csv", b"name,verdict\na,b\n", "csv: no column photo_id, face_index, decision"),
        ("a.csv", HEADER.replace(",", ";").encode(), "columns are to be separated by commas"),
        ("a.csv", b"", "no column photo_id"),
        ("a.csv", b"\xff\xfe\x00", "not text in UTF-8"),
        ("a.json", b"[" * 100_000, "recursion"),
        ("a.json", b"{}", "not a list of decisions"),
        ("a.json", b"[1]", "row 1: not a decision"),
        ("a.json", b'[{"photo_id": "p"}]', "row 1: no column 'face_index'"),
        ("a.json", record(photo_id={}), "needs a photo_id"),
        ("a.json", record(face_index=True), "is not a face"),
        ("a.json", record(decision=[]), "row 1: decision [] is not one of"),
        ("a.json", record(decided_at=7), "row 1: "),
        ("a.json", record(comment="\ud800"), "surrogates"),
        ("a.json", record(reviewer="\ud800"), "surrogates"),
        ("a.json", record(restored_sha256="abc"), "row 1: restored_sha256 'abc' is not a sha256"),
        ("a.json", record(box=[1, 2, 3]), "row 1: box [1, 2, 3] is not x0 y0 x1 y1"),
        ("a.json", record(box="1 2 3 inf"), "row 1: box '1 2 3 inf' is not"),
        ("a.json", record(box={}), "row 1: "),
        ("a.json", record(strength=1.5), "row 1: strength 1.5 is not from 0 to 1"),
        ("a.json", record(strength=True), "row 1: strength True is not from 0 to 1"),
    ],
)  # fmt: skip
def test_a_file_that_holds_something_else_is_one_line(output: Path, name: str, content: bytes, words: str) -> None:
    (output / "decisions" / name).write_bytes(content)
    with pytest.raises(DecisionError) as error:
        decided(output)
    message = str(error.value)
    assert words in message
    assert message.startswith(f"{output}/decisions/{name}: ")
    assert message.endswith("; repair or remove this file, or export it again")
    assert "\n" not in message and len(message) < 500


def test_a_huge_file_is_not_read(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_BYTES", 100)
    put(output, "a.csv", *["p1,,accept,,2026-03-01T00:00:00Z"] * 10)
    with pytest.raises(DecisionError, match="remove it"):
        decided(output)


def test_status_and_counts_need_no_decisions(output: Path) -> None:
    from pipeline.manifest.counts import counts
    from pipeline.manifest.pending import pending

    (output / "decisions" / "a.csv").write_bytes(b"\xff")
    assert counts(str(output)).pending == 1
    assert len(pending(str(output))) == 1
    with pytest.raises(DecisionError):
        pending(str(output), "member = 'a.jpg'")
