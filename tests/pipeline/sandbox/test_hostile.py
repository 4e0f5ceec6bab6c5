"""The corpus of hostile input through the stages: every member is a row with a reason, and no worker dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from pipeline.photos.view import view_of
from pipeline.sandbox import parent as sandbox
from pipeline.stages.detect import DetectFaces
from pipeline.stages.fetch import fetch
from pipeline.stages.publish import publish
from pipeline.stages.row import Row, to_table
from tests.corpus import crashes
from tests.corpus.hostile import Case, groups
from tests.corpus.hostile_images import garbled
from tests.support import stages
from tests.support.pictures import hopper

LIMITS = Limits(seconds=20)
# Bytes of the child in total, and of the worker above its start. The largest member that is read has 50 MiB.
MEMORY = 1 << 30


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str) -> Job:
    return stages.job(tmp_path_factory.mktemp("out"), tiny_weights)


@pytest.fixture(scope="module")
def find(job: Job) -> DetectFaces:
    return DetectFaces(job)


def rows_of(case: Case, folder: Path, job: Job, find: DetectFaces) -> tuple[list[Row], list[Row]]:
    """Index rows, and the rows after fetch and detect."""
    limits = replace(LIMITS, **case.limits)
    find.limits = limits
    job = replace(job, settings=replace(job.settings, limits=limits))
    name = case.file
    (folder / "in").mkdir(parents=True)
    (folder / "in" / name).write_bytes(case.data)
    packed = any(ending in name for ending in (".tar", ".zip"))
    source = Source(str(folder / "in" / name), "archive") if packed else Source(str(folder / "in"), "folder")
    output = str(folder / "out")
    write_archive(source, source.name, storage.join(output, "index", "a-0123456789abcdef.parquet"), output, limits)
    index = pq.read_table(folder / "out" / "index" / "a-0123456789abcdef.parquet")
    found = [row for table in fetch(index, job) for part in find(table) for row in part.to_pylist()]
    return index.to_pylist(), found


def matches(row: Row, expected: tuple[str, str, str]) -> bool:
    member, status, error_type = expected
    if member == "*":
        return True
    same = row["member"] == member or (member == "..." and member in row["member"])
    return (
        same and (row["status"] or "open") in status.split("|") and (row["error_type"] or "") in error_type.split("|")
    )


def check_words(row: Row) -> None:
    """A failure is one line that fits into a table."""
    if row["error_type"] is None:
        return
    assert row["error"], row
    assert row["error"].isprintable(), row["error"]
    assert len(row["error"]) < 6000, row["error"][:200]


def check(case: Case, indexed: list[Row], found: list[Row]) -> None:
    assert sorted({row["photo_id"][:20] for row in found}) == sorted(row["photo_id"] for row in indexed)
    for row in found:
        check_words(row)
        assert any(matches(row, one) for one in case.expected), (row["member"][:100], row["status"], row["error_type"])
    for one in case.expected:
        assert one[0] == "*" or any(matches(row, one) for row in found), one


@pytest.mark.parametrize("group", groups())
def test_every_member_becomes_a_row(group: str, tmp_path: Path, job: Job, find: DetectFaces) -> None:
    before = crashes.peak_memory()
    wrong = []
    for number, case in enumerate(groups()[group]()):
        try:
            check(case, *rows_of(case, tmp_path / str(number), job, find))
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
        assert sandbox.run(crashes.peak_memory, limits=LIMITS) < MEMORY, case.name
    assert crashes.peak_memory() - before < MEMORY
    assert not wrong, "\n".join(wrong)


def test_hostile_metadata_do_not_stop_a_restoration(tmp_path: Path, job: Job, find: DetectFaces) -> None:
    """The last stage carries over as much of the metadata as it can."""
    find.limits = LIMITS
    photos = [stages.photo_row(f"{n}.{file}", data) for n, (_, file, data) in enumerate(garbled(hopper(128)))]
    found = stages.rows_of(lambda table: pa.concat_tables(find(table)), photos)
    assert [made["error_type"] for made in found] == [None] * len(photos)
    # Some are turned, because the garbage contains an orientation.
    ready = [made | {"restored_crops": b"\x80" * len(made["crops"])} for made in found if made["crops"]]
    assert len(ready) > 0.8 * len(photos)
    job = replace(job, output=str(tmp_path), settings=replace(job.settings, limits=LIMITS))
    done = publish(to_table(ready), job).to_pylist()
    rows = pa.concat_tables(map(pq.read_table, (tmp_path / "manifest").glob("*.parquet"))).to_pylist()
    assert {made["member"]: made["error"] for made in rows} == {made["member"]: None for made in ready}
    assert {made["status"] for made in done} == {"restored"}
    for made in rows:
        view = sandbox.run(view_of, Path(made["restored_uri"]).read_bytes(), LIMITS, limits=LIMITS)
        assert {view.width, view.height} == {128, 150}
