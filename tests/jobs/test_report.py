from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import interlcm
from tests.support.review_run import write_run


def test_a_report_says_where_it_is_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write_run(tmp_path)
    assert interlcm("report", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pictures: 0/5 photos, 0.0 MB written"
    assert lines[-4].startswith("pictures: 5/5 photos, ")
    assert lines[-3] == f"report: {output}/report/index.html (7 files, 1 face to review)"
    assert f"{output}/decisions/" in lines[-1]
    assert Path(output, "report", "index.html").exists()
    assert len(list(Path(output, "report", "pictures").rglob("*.jpg"))) == 5 + 4 * 2 + 5 * 2 + 4
    assert interlcm("report", output) == 0
    assert capsys.readouterr().out.splitlines()[0] == "pictures: 5/5 photos, 0.0 MB written"


def test_without_pictures_and_with_a_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write_run(tmp_path)
    assert interlcm("report", output, "--pictures", "none", "--price-per-hour", "7", "--currency", "CHF") == 0
    assert not Path(output, "report", "pictures").exists()
    assert '"currency":"CHF"' in Path(output, "report", "data", "summary.js").read_text()
    assert "report:" in capsys.readouterr().out


def test_a_source_that_is_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write_run(tmp_path)
    (tmp_path / "scans.tar").unlink()
    assert interlcm("report", output) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("without pictures: 5 photos")]
    assert len(told) == 1
    assert "scans.tar" in told[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["report", "nowhere"], 1, "no run there"),
        (["report"], 2, "OUTPUT"),
        (["report", "nowhere", "--pictures", "some"], 2, "some"),
        (["report", "nowhere", "--max-side", "10"], 2, "256"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert interlcm(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert words in captured.err
