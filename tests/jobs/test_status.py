from __future__ import annotations

from pathlib import Path

import pytest

from jobs.__main__ import main
from jobs.status import equation
from pipeline.manifest import Counts, counts, write_part
from tests.rows import face, index_row, result_row, write_index

EQUATION = ["indexed", "=", "restored", "+", "no_face", "+", "skipped", "+", "failed", "+", "pending"]


def interlcm(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def output(tmp_path: Path) -> str:
    uri = str(tmp_path / "out")
    write_index(uri, [index_row(f"{n}.jpg") for n in range(12)])
    write_part([result_row(f"{n}.jpg", face_count=2, faces=[face(0), face(1)]) for n in range(5)], uri, "1")
    write_part([result_row("5.jpg", "no_face"), result_row("6.jpg", "skipped")], uri, "1")
    failures = [("7", "truncated"), ("8", "empty_file"), ("9", "truncated")]
    write_part([result_row(f"{n}.jpg", "failed", error_type=kind) for n, kind in failures], uri, "1")
    return uri


def test_status_prints_the_equation_and_its_numbers(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("status", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == EQUATION
    assert lines[1].split() == ["12", "=", "5", "+", "1", "+", "1", "+", "3", "+", "2"]
    assert len(lines[0]) == len(lines[1])
    assert lines[2] == "faces restored: 10"
    assert lines[3] == "failed: 2 truncated, 1 empty_file"
    assert lines[-1] == "pending: start the same interlcm restore again to continue"


def test_a_complete_run_needs_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_index(str(tmp_path), [index_row("a.jpg")])
    write_part([result_row("a.jpg")], str(tmp_path), "1")
    assert interlcm("status", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["faces restored: 0"]


def test_numbers_that_do_not_add_up_are_an_error(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_index(output, [index_row("5.jpg")], name="again")  # one photo in two files of the index
    assert not counts(output).adds_up
    assert interlcm("status", output) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:3] == ["13", "!=", "5"]
    assert "do not add up" in captured.err.splitlines()[-1]


def test_the_equation_stays_aligned_with_large_numbers() -> None:
    names, numbers = equation(Counts(10**9, 10**9 - 3, 1, 1, 1, 0, faces=0, failures={})).splitlines()
    assert [names.index(sign) for sign in "=+"] == [numbers.index(sign) for sign in "=+"]
    assert len(names) == len(numbers)


def test_no_run_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("status", str(tmp_path / "nowhere")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "no run there" in captured.err
