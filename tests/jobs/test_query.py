from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from jobs.__main__ import main
from pipeline import storage
from pipeline.manifest.write import write_part
from tests.support.command import interlcm
from tests.support.rows import face, index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path) -> str:
    uri = str(tmp_path / "out")
    write_index(uri, [index_row("a.jpg"), index_row("b.jpg")])
    faces = [face(0, psnr=float("inf")), face(1, psnr=30.5)]
    write_part([result_row("a.jpg", face_count=2, faces=faces), result_row("b.jpg", "no_face")], uri, "1")
    return uri


def test_a_table_shows_every_row(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert interlcm("query", output, "SELECT member, status FROM photos ORDER BY member") == 0
    text = capsysbinary.readouterr().out.decode()
    assert "status" in text
    assert text.index("a.jpg") < text.index("restored") < text.index("b.jpg") < text.index("no_face")
    assert interlcm("query", output, "SELECT 'row ' || i AS name FROM range(500) AS r(i)") == 0
    text = capsysbinary.readouterr().out.decode()
    assert all(f"row {n} " in text for n in range(500))


def test_a_table_that_is_no_terminal_has_whole_values(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    columns = ", ".join(f"repeat('{n}', 50) AS c{n}" for n in range(9))
    assert interlcm("query", output, f"SELECT {columns}, repeat('x', 300) AS long, ['y', repeat('z', 99)] AS list") == 0
    text = capsysbinary.readouterr().out.decode()
    assert all(str(n) * 50 in text for n in range(9)) and "x" * 300 in text and f"[y, {'z' * 99}]" in text


def test_csv_on_the_screen(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    sql = "SELECT member, psnr, box, review_reason FROM faces ORDER BY face_index"
    assert interlcm("query", output, sql, "--format", "csv") == 0
    rows = list(csv.reader(capsysbinary.readouterr().out.decode().splitlines()))
    assert rows[0] == ["member", "psnr", "box", "review_reason"]
    assert rows[2] == ["a.jpg", "30.5", "[1.0, 2.0, 3.0, 4.0]", ""]


def test_json_is_valid_whatever_the_numbers(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    sql = "SELECT psnr, landmarks FROM faces ORDER BY face_index"
    assert interlcm("query", output, sql, "--format", "json") == 0
    rows = json.loads(capsysbinary.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["psnr"] for row in rows] == [None, 30.5]
    assert rows[0]["landmarks"][4] == [4.0, 4.0]
    assert interlcm("query", output, "SELECT finished_at FROM photos LIMIT 1", "--format", "json") == 0
    assert json.loads(capsysbinary.readouterr().out) == [{"finished_at": "2026-01-01T00:00:00+00:00"}]
    assert interlcm("query", output, "FROM photos WHERE false", "--format", "json") == 0
    assert json.loads(capsysbinary.readouterr().out) == []


@pytest.mark.parametrize("format", ["table", "csv", "json", "parquet"])
def test_to_writes_a_file(output: str, tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new folder" / f"photos.{format}"
    assert interlcm("query", output, "FROM photos ORDER BY member", "--format", format, "--to", str(file)) == 0
    assert capsys.readouterr().out == f"2 rows written to {file}\n"
    assert file.stat().st_size > 0
    if format == "parquet":
        assert pyarrow.parquet.read_table(file)["member"].to_pylist() == ["a.jpg", "b.jpg"]


@pytest.fixture
def reviewed(output: str) -> str:
    """More photos: faces that need review, a failure, and a curator's decisions."""
    write_index(output, [index_row(f"{name}.jpg") for name in "cdef"], name="b")
    faces = [face(0, psnr=12.0, needs_review=True, review_reason="psnr 12.0 < 18"), face(1, psnr=40.0)]
    look = [face(0, psnr=33.0, identity_similarity=0.1, needs_review=True, review_reason="identity 0.1 < 0.3")]
    same = [face(0, psnr=11.0, identity_similarity=0.9)]
    rows = [result_row("c.jpg", face_count=2, faces=faces), result_row("d.jpg", face_count=1, faces=look)]
    rows += [result_row("e.jpg", "failed", error_type="truncated", error="its end is missing", bytes=10, page=1)]
    rows += [result_row("a.jpg", "no_face", photo_id="id-a.jpg-p2", page=2, pages=2, bytes=7)]  # the member's, again
    rows += [result_row("f.jpg", face_count=1, faces=same, bytes=30, seconds_fetch=0.5, seconds_restore=2.0)]
    write_part(rows, output, "2")
    lines = ["photo_id,face_index,decision,comment,decided_at", "id-c.jpg,0,reject,wax,2026-02-01T00:00:00Z"]
    storage.write_bytes(storage.join(output, "decisions", "mine.csv"), "\n".join(lines).encode())
    return output


def answer(output: str, capsysbinary: pytest.CaptureFixture[bytes], *question: str) -> list[dict[str, Any]]:
    assert interlcm("query", output, *question, "--format", "json") == 0
    found: list[dict[str, Any]] = json.loads(capsysbinary.readouterr().out)
    return found


NAMES = {
    "=HYPERLINK(0)": "'=HYPERLINK(0)",
    "@a": "'@a",
    "-a": "'-a",
    "a-b.jpg": "a-b.jpg",
    "a\x1b[2Jb": r"a\x1b[2Jb",
    "a\x9b2Jb": r"a\x9b2Jb",
}


def test_names_run_no_formula_and_move_no_cursor(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    output = str(tmp_path / "out")
    write_index(output, [index_row(name) for name in NAMES])
    write_part([result_row(name) for name in NAMES], output, "1")
    sql = "SELECT member FROM photos"
    table = str(tmp_path / "names.CSV")
    assert interlcm("query", output, sql, "--to", table) == 0  # the suffix says which format
    with open(table, newline="") as file:
        assert {row["member"] for row in csv.DictReader(file)} == set(NAMES.values())
    capsysbinary.readouterr()
    for format in ("table", "csv", "json"):
        assert interlcm("query", output, sql, "--format", format) == 0
        shown = capsysbinary.readouterr().out.decode()
        assert not [char for char in shown if not char.isprintable() and char not in "\r\n"]
        if format == "json":
            assert {row["member"] for row in json.loads(shown)} == set(NAMES)


def test_the_worst_faces(reviewed: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Sorted by identity if it was measured, then by PSNR."""
    found = answer(reviewed, capsysbinary, "--worst", "3")
    assert [(row["member"], row["face_index"]) for row in found] == [("d.jpg", 0), ("f.jpg", 0), ("c.jpg", 0)]
    assert found[2]["psnr"] == 12.0
    assert len(answer(reviewed, capsysbinary, "--worst", "100")) == 6


def test_the_failures(reviewed: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (row,) = answer(reviewed, capsysbinary, "--failures")
    assert row == {
        "source": "a.tar", "member": "e.jpg", "page": 1, "error_type": "truncated", "error": "its end is missing",
    }  # fmt: skip


def test_the_warnings(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = [{"kind": "rows_lost", "words": "38 %"}, {"kind": "not_carried", "words": "a path"}]
    write_part([result_row("a.jpg", minute=1, page=1, warnings=found)], output, "2")
    first, second = answer(output, capsysbinary, "--warnings")
    assert (first["kind"], first["words"], first["member"], first["page"]) == ("not_carried", "a path", "a.jpg", 1)
    assert (second["kind"], second["words"], second["status"]) == ("rows_lost", "38 %", "restored")


def test_the_faces_to_review_and_what_was_decided(reviewed: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = answer(reviewed, capsysbinary, "--review")
    assert [(row["member"], row["review_reason"], row["decision"], row["comment"]) for row in found] == [
        ("c.jpg", "psnr 12.0 < 18", "reject", "wax"),
        ("d.jpg", "identity 0.1 < 0.3", None, None),
    ]
    # A decision on the whole photo is one on each of its faces that has none of its own; one that is void is none.
    lines = ["photo_id,face_index,decision,comment,decided_at,reviewer,restored_sha256,box,strength"]
    lines += ["id-d.jpg,,accept,well,2026-02-01,Anna,,,", "id-c.jpg,,accept,,2026-02-03,Anna,,,"]
    lines += [f"id-d.jpg,0,reject,,2026-02-02,Bert,{'0' * 64},,"]
    storage.write_bytes(storage.join(reviewed, "decisions", "2.csv"), "\n".join(lines).encode())
    found = answer(reviewed, capsysbinary, "--review")
    assert [(row["decision"], row["comment"], row["reviewer"]) for row in found] == [
        ("reject", "wax", None), ("accept", "well", "Anna"),
    ]  # fmt: skip


def test_the_summary(reviewed: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = {row["status"]: row for row in answer(reviewed, capsysbinary, "--summary")}
    assert {status: row["photos"] for status, row in found.items()} == {"restored": 4, "no_face": 2, "failed": 1}
    assert found["no_face"]["bytes"] is None  # the second page of a member is no other file
    restored = found["restored"]
    assert (restored["faces"], restored["bytes"], restored["seconds"]) == (6, 30, 2.5)


def test_describe_says_what_columns_mean(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = answer(output, capsysbinary, "--describe")
    assert {"view": "faces", "column": "psnr", "type": "FLOAT", "unit": "dB"}.items() <= next(
        row for row in found if row["column"] == "psnr"
    ).items()


def test_a_broken_file_of_decisions_is_one_line(reviewed: str, capsys: pytest.CaptureFixture[str]) -> None:
    storage.write_bytes(storage.join(reviewed, "decisions", "mine.csv"), b"\x00")
    assert interlcm("query", reviewed, "--review") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "decisions/mine.csv: " in line and "repair or remove this file" in line


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["FROM photos", "--format", "parquet"], 2, "--to"),
        (["FROM photos", "--format", "yaml"], 2, "yaml"),
        (["SELECT nothing FROM photos"], 2, "nothing"),
        (["DROP VIEW photos"], 2, "reads"),
        (["SELECT * FROM read_csv('/etc/passwd')"], 2, "disabled"),
        (
            [],
            2,
            "nothing given: give exactly one of SQL, --worst, --failures, --warnings, --review, --summary, --describe",
        ),
        ([""], 2, "nothing given"),
        (["FROM photos", "--failures"], 2, "SQL and --failures given: give exactly one"),
        (["--review", "--worst", "3", "--describe"], 2, "--worst and --review and --describe given"),
        (["--worst", "0"], 2, "--worst"),
        (["--worst", "many"], 2, "--worst"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    output: str, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert interlcm("query", output, *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert words in captured.err


def test_a_query_ends_however_soon_its_rows_are_written(tmp_path: Path) -> None:
    """Arrow still reads ahead in threads then. A third of such processes hung or aborted at their end."""
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(50)])
    for n in range(50):
        failed = {"status": "failed", "error_type": "truncated"} if n % 8 == 0 else {}
        row = result_row(f"{n}.jpg", faces=[face(0, psnr=20.0)], sha256="a" * 64, settings_digest="b" * 64) | failed
        write_part([row], output, str(n))
    command = [sys.executable, "-m", "jobs", "query", output, "--failures", "--format", "csv"]
    for _ in range(8):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr, done.stdout.count("truncated")) == (0, "", 7)


def test_a_suffix_that_names_no_format(output: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["query", output, "--summary", "--to", "out.xlsx"])
    assert stopped.value.code == 2
    assert b"--to out.xlsx: unknown suffix; give .csv" in capsysbinary.readouterr().err
