"""Compaction beside a run: one at a time, never in the way of the run, and its errors end the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.manifest import compaction
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from pipeline.run import kept_count, merging
from pipeline.run.lease import LeaseError
from pipeline.run.merging import COMPACT_EVERY
from pipeline.storage.output import Output
from tests.support.rows import index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(compaction, "FEW", 0)
    write_index(str(tmp_path), [index_row(f"{n}.jpg") for n in range(4)])
    write_part([result_row("0.jpg")], str(tmp_path), "1")
    return str(tmp_path)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[bool]]]:
    """An event for which each compaction waits, and those that began: whether they were whole."""
    gate, begun = threading.Event(), []
    beside, last = kept_count.merge, compaction.compact_if_many

    def waits(merge: Callable[[str], None], whole: bool) -> Callable[[str], None]:
        def waiting(output: str) -> None:
            begun.append(whole)
            gate.wait()
            merge(output)

        return waiting

    monkeypatch.setattr(kept_count, "merge", waits(beside, False))
    monkeypatch.setattr(compaction, "compact_if_many", waits(last, True))
    yield gate, begun
    gate.set()


def test_a_run_goes_on_while_one_compaction_works(output: str, held: tuple[threading.Event, list[bool]]) -> None:
    gate, begun = held
    with merging.beside(output) as merge:
        merge.after(COMPACT_EVERY - 1)
        assert begun == []
        for done in range(COMPACT_EVERY, 9 * COMPACT_EVERY, COMPACT_EVERY):
            merge.after(done)  # would wait for ever
            write_part([result_row(f"{done % 4}.jpg", minute=done)], output, f"{done}")
        assert begun == [False]
        gate.set()
        merge.finish(lambda: None)
    assert begun == [False, True]
    assert [name.partition("-")[0] for name, _ in Output(output).manifest_files()] == ["merged"]
    assert counts(output).restored == 1


def test_the_lease_is_watched_during_the_last_one(output: str, held: tuple[threading.Event, list[bool]]) -> None:
    gate, _ = held

    def taken() -> None:
        gate.set()
        raise LeaseError("taken over")

    with pytest.raises(LeaseError, match="taken over"), merging.beside(output) as merge:
        merge.finish(taken)


def test_an_error_of_a_compaction_ends_the_run(output: str) -> None:
    Path(output, "manifest", "part-bad.parquet").write_bytes(b"no table")
    with merging.beside(output) as merge:
        merge.after(COMPACT_EVERY)
        merge.leave()
        with pytest.raises(storage.StorageError, match="part-bad.parquet: damaged"):
            merge.after(COMPACT_EVERY + 1)
        with pytest.raises(storage.StorageError, match="part-bad.parquet: damaged"):
            merge.finish(lambda: None)
