"""`interlcm manifest compact` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from tests.support.command import interlcm
from tests.support.rows import index_row, result_row, write_index


def test_compact_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(9)])
    for n in range(9):
        write_part([result_row(f"{n}.jpg")], output, "1")
    before = counts(output)
    assert interlcm("manifest", "compact", output) == 0
    (file,) = (tmp_path / "manifest").glob("*.parquet")
    size = file.stat().st_size / 1e6
    assert capsys.readouterr().out == f"manifest: 9 files, now 1; 9 rows, {size:.1f} MB written\n"
    assert counts(output) == before
    assert interlcm("manifest", "compact", output) == 0
    assert capsys.readouterr().out == "manifest: 1 file, now 1; 0 rows, 0.0 MB written\n"


def test_no_run_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("manifest", "compact", str(tmp_path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no run there" in line
