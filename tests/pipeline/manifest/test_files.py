"""Damaged, lost and foreign files in a run: one line names them, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.manifest import compaction
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.query import reading, run
from pipeline.manifest.write import write_part
from pipeline.storage.output import check_not_in_run
from tests.support.rows import result_row


def test_rows_that_cannot_be_read_are_one_line_that_names_the_file(output: str) -> None:
    """The footer is whole, so the damage shows in the middle of a query."""
    part = sorted(Path(output, "manifest").iterdir())[0]
    data = bytearray(part.read_bytes())
    data[4:400] = bytes(byte ^ 0xFF for byte in data[4:400])
    part.write_bytes(data)
    asks: list[Callable[[], object]] = [lambda: reading(output, lambda one: run(one, "FROM photos"))]
    for ask in [*asks, lambda: counts(output)]:
        with pytest.raises(storage.StorageError) as error:
            ask()
        assert str(error.value).startswith(f"{part}: damaged (") and "\n" not in str(error.value)
    with pytest.raises(storage.StorageError, match=f"{part}: damaged"):
        compaction.compact(output)
    assert part.read_bytes() == data


@pytest.mark.parametrize("folder", ["manifest", "index"])
def test_a_table_of_somebody_else_is_named_and_stays(output: str, folder: str) -> None:
    stray = Path(output, folder, "export.parquet")
    pq.write_table(reading(output, lambda one: run(one, "SELECT * EXCLUDE (faces) FROM manifest")), stray)
    before = {path: path.read_bytes() for path in Path(output).rglob("*") if path.is_file()}
    asks: list[Callable[[], object]] = [lambda: counts(output), lambda: pending(output)]
    if folder == "manifest":
        asks.append(lambda: compaction.compact(output))
    for ask in asks:
        with pytest.raises(storage.StorageError, match=f"{stray}: not a file of this run; move it to another folder"):
            ask()
    assert {path: path.read_bytes() for path in Path(output).rglob("*") if path.is_file()} == before


def test_a_table_of_other_columns_under_an_own_name_is_refused(output: str) -> None:
    stray = Path(output, "manifest", "part-0123456789abcdef0123.parquet")
    pq.write_table(pa.table({"photo_id": ["a"], "n": [1]}), stray)
    asks: list[Callable[[], object]] = [lambda: counts(output), lambda: compaction.compact(output)]
    for ask in asks:
        with pytest.raises(storage.StorageError, match=f"{stray}: damaged, or not a part of a manifest"):
            ask()
    assert stray.exists()


@pytest.mark.parametrize("place", ["manifest/x.parquet", "index/a/x.csv", "restored/x.csv", "run.json"])
def test_no_export_goes_into_the_folders_of_a_run(output: str, place: str) -> None:
    with pytest.raises(storage.StorageError, match="is a run, which keeps that place for itself; name another file"):
        check_not_in_run(f"{output}/{place}")
    check_not_in_run(f"{output}/failed.csv")
    check_not_in_run(f"{output}/exports/{place}")


def test_results_of_a_source_that_the_index_lost_do_not_add_up(output: str) -> None:
    assert counts(output).adds_up
    write_part([result_row("z.jpg", source="lost.tar"), result_row("y.jpg", source="lost.tar")], output, "9")
    found = counts(output)
    assert (found.lost, found.adds_up) == ({"lost.tar": 2}, False)
