"""The last count of a run is taken as long as nothing changed, and no longer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.manifest.write import write_part
from pipeline.run.status import count_run, read_status
from tests.support.rows import index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path) -> str:
    write_index(str(tmp_path), [index_row(f"{n}.jpg") for n in range(4)])
    rows = [result_row("0.jpg", face_count=2), result_row("1.jpg", "failed", minute=3, error_type="truncated")]
    write_part(rows, str(tmp_path), "1")
    return str(tmp_path)


def test_a_count_is_taken_while_nothing_changes(output: str) -> None:
    found = read_status(output)
    assert not Path(output, "status.json").exists()  # who only looks writes nothing
    assert replace(count_run(output), now=found.now) == found
    assert replace(read_status(output), now=found.now) == found
    file = Path(output, "status.json")
    kept = json.loads(file.read_text())
    kept["tally"]["counts"]["faces"] = 77
    file.write_text(json.dumps(kept))
    assert read_status(output).counts.faces == 77  # so it was not counted again


def test_a_change_of_any_file_or_a_damaged_count_makes_it_void(output: str) -> None:
    count_run(output)
    file = Path(output, "status.json")
    write_part([result_row("2.jpg", "no_face")], output, "2")
    assert read_status(output).counts.no_face == 1
    count_run(output)
    write_index(output, [index_row(f"{n}.jpg") for n in range(5)])
    assert read_status(output).counts.indexed == 5
    count_run(output)
    for damage in ("", "{}", "[]", json.dumps(json.loads(file.read_text()) | {"tally": {"of": "another version"}})):
        file.write_text(damage)
        assert read_status(output).counts.indexed == 5
