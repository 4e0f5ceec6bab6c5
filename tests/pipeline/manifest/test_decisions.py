"""Decisions as the report exports them, and files that are not decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import decisions, query
from pipeline.manifest.decisions import DecisionError
from pipeline.manifest.schema import DECISION_SCHEMA
from tests.support.rows import index_row, write_index

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
WORDS = 'too smooth, "wax"\nno'
HEADER = "photo_id,face_index,decision,comment,decided_at"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_index(str(tmp_path), [index_row("a.jpg")])
    (tmp_path / "decisions").mkdir()
    return tmp_path


def record(**columns: Any) -> bytes:
    """A JSON file with one decision."""
    sound = {"photo_id": "p", "face_index": 0, "decision": "", "comment": "", "decided_at": "2026-01-01"}
    return json.dumps([sound | columns]).encode()


def put(output: Path, name: str, *lines: str) -> None:
    (output / "decisions" / name).write_text("\r\n".join([HEADER, *lines, ""]))


def decided(output: Path) -> list[dict[str, Any]]:
    return sorted(decisions.read(str(output)).to_pylist(), key=str)


def test_without_decisions_the_view_is_empty(output: Path) -> None:
    with query.connect(str(output)) as connection:
        assert query.run(connection, "FROM decisions").schema.names == DECISION_SCHEMA.names
        assert query.run(connection, "FROM decisions").num_rows == 0


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
        ("a.csv", b"", "no column photo_id"),
        ("a.csv", b"\xff\xfe\x00", "utf-8"),
        ("a.json", b"[" * 100_000, "recursion"),
        ("a.json", b"{}", "not a list of decisions"),
        ("a.json", b"[1]", "row 1: not a decision"),
        ("a.json", b'[{"photo_id": "p"}]', "row 1: no column 'face_index'"),
        ("a.json", record(photo_id={}), "needs a photo_id"),
        ("a.json", record(face_index=True), "is not a face"),
        ("a.json", record(decision=[]), "row 1: decision [] is not one of"),
        ("a.json", record(decided_at=7), "row 1: "),
        ("a.json", record(comment="\ud800"), "surrogates"),
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
