from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from jobs.__main__ import main
from pipeline.manifest import write_part
from tests.rows import face, index_row, result_row, write_index


def interlcm(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    return code if isinstance(code, int) else 0


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
    assert interlcm("query", output, "FROM photos", "--format", format, "--to", str(file)) == 0
    assert capsys.readouterr().out == f"2 rows written to {file}\n"
    assert file.stat().st_size > 0
    if format == "parquet":
        assert pyarrow.parquet.read_table(file)["member"].to_pylist() == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["FROM photos", "--format", "parquet"], 2, "--to"),
        (["FROM photos", "--format", "yaml"], 2, "yaml"),
        (["SELECT nothing FROM photos"], 1, "nothing"),
        (["DROP VIEW photos"], 1, "reads"),
        (["SELECT * FROM read_csv('/etc/passwd')"], 1, "disabled"),
        ([], 2, "SQL"),
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
