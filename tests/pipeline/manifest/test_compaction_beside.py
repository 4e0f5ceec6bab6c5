"""Merge the parts of a manifest beside writers, readers and other compactions, or with a kill: each row counts once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.manifest import compaction, query, views
from pipeline.manifest import files as manifest_files
from pipeline.manifest.compaction import compact
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from tests.support.many_parts import PHOTOS, fill, log, member, names, photos
from tests.support.rows import START, index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def test_a_row_in_two_files_counts_once_and_the_next_compaction_drops_one(output: str) -> None:
    """As after a kill between writing the merged file and removing the parts."""
    before, rows = fill(output), log(output)
    kept = {name: Path(output, "manifest", name).read_bytes() for name in names(output)}
    compact(output)
    for name, data in list(kept.items())[::2]:
        Path(output, "manifest", name).write_bytes(data)
    assert len(log(output)) > len(rows)
    assert photos(output) == before
    assert counts(output).adds_up
    compact(output)
    assert log(output) == rows
    assert photos(output) == before


def test_a_part_written_anew_meanwhile_stays(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that Ray runs again overwrites its own part, possibly after its first rows were merged."""
    rows = [result_row("a.jpg", "failed", error_type="StorageError")]
    first = write_part(rows, output, "1")
    write_part([result_row("b.jpg")], output, "1")
    write_index(output, [index_row("a.jpg"), index_row("b.jpg")])
    encoded = compaction._encoded

    def and_meanwhile(newest: pa.Table, older: pa.Table) -> pa.Buffer:
        assert write_part([result_row("a.jpg", minute=1)], output, "1") == first
        return encoded(newest, older)

    monkeypatch.setattr(compaction, "_encoded", and_meanwhile)
    compact(output)
    assert [row["status"] for row in photos(output)] == ["restored", "restored"]
    assert Path(first).exists()


def test_a_part_that_another_compaction_took_leaves_its_group_alone(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = fill(output), log(output)
    groups = compaction._groups

    def and_meanwhile(parts: list[compaction.Part]) -> Any:
        found = list(groups(parts))
        monkeypatch.undo()
        compact(output)  # the other one
        return found

    monkeypatch.setattr(compaction, "_groups", and_meanwhile)
    monkeypatch.setattr(compaction, "FILE_BYTES", 0)  # so that it reads the parts a second time
    assert compact(output).rows == 0
    assert (log(output), photos(output)) == (rows, before)


def test_compactions_and_a_writer_at_once(output: str) -> None:
    fill(output)
    expected = log(output)

    def write() -> None:
        for n in range(30):
            write_part([result_row(member(n), minute=20 + n)], output, "3")

    workers = [threading.Thread(target=compact, args=(output,)) for _ in range(3)] + [threading.Thread(target=write)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected += [(f"id-{member(n)}", START + timedelta(minutes=20 + n)) for n in range(30)]
    assert set(log(output)) == set(expected)
    compact(output)
    assert log(output) == sorted(expected)


@pytest.mark.parametrize(("room", "looks"), [(0, 2), (16 << 20, 1)], ids=["read later", "read at first"])
def test_a_reader_looks_again_where_parts_went_away(
    room: int, looks: int, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small parts are read before anything is asked of them, those beyond the room for them when they are needed."""
    monkeypatch.setattr(manifest_files, "ROOM", room)
    fill(output)
    connections = []

    def work(connection: Any) -> int:
        connections.append(connection)
        compact(output)  # after the first connection listed the parts
        return int(query.run(connection, "SELECT count(*) FROM photos")[0][0].as_py())

    assert query.reading(output, work) == PHOTOS
    assert len(connections) == looks


@pytest.mark.parametrize("when", ["it connects", "it asks"])
def test_a_reader_of_all_photos_looks_again_where_a_merged_file_went_away(
    when: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB reads that file itself, since all its rows are newest, and may look at no other."""
    write_index(output, [index_row(member(n)) for n in range(PHOTOS)])
    for n in range(PHOTOS):
        write_part([result_row(member(n))], output, str(n))
    compact(output)
    (merged,) = names(output)
    moved = Path(output, "manifest", f"merged-{'0' * 20}.parquet")
    connected, meanwhile = views.connected, [lambda: Path(output, "manifest", merged).rename(moved)]

    def and_meanwhile(*given: Any, **named: Any) -> Any:
        if when == "it connects" and meanwhile:
            meanwhile.pop()()
        return connected(*given, **named)

    def work(connection: Any) -> int:
        if meanwhile:
            meanwhile.pop()()
        return int(query.run(connection, "SELECT count(*) FROM photos")[0][0].as_py())

    monkeypatch.setattr(views, "connected", and_meanwhile)
    assert query.reading(output, work, whole=True) == PHOTOS
    assert names(output) == [moved.name]


KILLED = """
import sys
from pipeline.manifest import compaction
print("imported", flush=True)
compaction.FILE_ROWS = 20
compaction.REQUESTS = 1
while True:
    compaction.compact(sys.argv[1])
"""


@pytest.mark.parametrize("deletions", [0, 1, 9, 30])
def test_a_kill_in_the_middle_loses_nothing(output: str, deletions: int) -> None:
    """SIGKILL as soon as this many parts are gone: anywhere between listing, writing and deleting."""
    before, rows = fill(output), set(log(output))
    parts = names(output)
    command = [sys.executable, "-c", KILLED, output]
    with subprocess.Popen(command, cwd=Path.cwd(), stdout=subprocess.PIPE) as process:
        end = time.monotonic() + 600
        try:
            assert process.stdout is not None and process.stdout.readline()  # from here on, this loop must not rest
            while len(set(parts) - set(now := names(output))) < deletions or not any("merged" in name for name in now):
                assert time.monotonic() < end and process.poll() is None
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert set(log(output)) == rows
    assert photos(output) == before
    assert counts(output).adds_up
    compact(output)
    assert sorted(log(output)) == sorted(rows)
    assert photos(output) == before
