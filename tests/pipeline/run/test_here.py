"""A run in this process: the same files as on Ray, and the same promises when it is stopped or dies."""

from __future__ import annotations

import hashlib
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cluster import telemetry
from pipeline.config.resources import Resources
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from pipeline.run import attempt, here, lease, prepare
from pipeline.run.chain import Stage
from pipeline.storage import addresses
from pipeline.storage.output import Output
from tests.support.archives import index_sources, put, tar_bytes
from tests.support.file_server import serve
from tests.support.pictures import astronaut, encoded, hopper, side_by_side

HERE, RAY = math.inf, 0


def restored(output: str) -> dict[str, str]:
    """Path below restored/ -> sha256."""
    folder = Path(output, "restored")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Daily, test_run compares the bytes of a run on Ray with those of this process, and restores here what failed on Ray.
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_half_here_and_the_rest_on_ray_gives_the_same_bytes(tmp_path: Path, tiny_weights: str) -> None:
    two = side_by_side(astronaut(), hopper())
    photos = {"a.jpg": encoded(astronaut()), "b.png": encoded(hopper(), "PNG"), "c.jpg": encoded(two), "d.txt": b"text"}
    source = put(str(tmp_path), "scans.tar", tar_bytes(photos))
    outputs = {name: str(tmp_path / name) for name in ("mixed", "here")}
    starts: dict[str, list[tuple[str | None, float]]] = {
        "mixed": [("member < 'b.z'", HERE), (None, RAY)],
        "here": [(None, HERE)],
    }
    for name in starts:
        index_sources([source], outputs[name])
        for where, ray_from in starts[name]:
            job = prepare.prepare(outputs[name], Settings(weights=tiny_weights))
            job = prepare.with_dtype(job, Resources())
            with lease.held(outputs[name]) as mine:
                *_, last = attempt.restore(job, Resources(), mine, where, ray_from)
            assert (last.on_ray, last.done) == (ray_from == RAY, last.total)
        assert attempt.audit(outputs[name]).restored == 3
    assert len(restored(outputs["here"])) == 3
    assert restored(outputs["mixed"]) == restored(outputs["here"])


def test_every_photo_is_read_once_and_decoded_twice(
    tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds on the cost of a run, on either engine."""
    decoded: list[str] = []
    read: list[int] = []
    monkeypatch.setattr(telemetry, "decoded", decoded.append)
    monkeypatch.setattr(telemetry, "fetched", read.append)
    photos = {f"{n}.jpg": encoded(hopper(96)) for n in range(3)}
    output = str(tmp_path / "out")
    index_sources([put(str(tmp_path), "scans.tar", tar_bytes(photos))], output)
    job = prepare.with_dtype(prepare.prepare(output, Settings(weights=tiny_weights)), Resources())
    with lease.held(output) as mine:
        *_, last = attempt.restore(job, Resources(), mine, ray_from=HERE)
    assert (last.done, last.faces) == (3, 3)
    assert sorted(decoded) == ["compose"] * 3 + ["detect"] * 3
    assert 1 <= sum(read) / sum(map(len, photos.values())) <= 1.05


def tables(count: int) -> Iterator[pa.Table]:
    for number in range(count):
        yield pa.table({"n": [number]})


def test_a_thread_works_ahead_and_no_further_than_it_may() -> None:
    made: list[int] = []

    def noted() -> here.Tables:
        for table in tables(50):
            made.append(table["n"][0].as_py())
            yield table

    flow = here.ahead(noted(), 3, "test")
    assert next(flow)["n"].to_pylist() == [0]
    end = time.monotonic() + 60
    while len(made) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    assert made == [0, 1, 2, 3, 4]  # one is being read, three wait, one waits for a place in the queue
    assert [n for table in flow for n in table["n"].to_pylist()] == list(range(1, 50))


def test_an_error_of_a_thread_arrives_after_what_it_made() -> None:
    def failing() -> here.Tables:
        yield from tables(2)
        raise ValueError("the third")

    flow = here.ahead(failing(), 1, "test")
    assert [next(flow)["n"].to_pylist(), next(flow)["n"].to_pylist()] == [[0], [1]]
    with pytest.raises(ValueError, match="the third"):
        next(flow)


def test_a_reader_that_leaves_ends_the_threads() -> None:
    def endless() -> here.Tables:
        yield from tables(10**9)

    flow = here.ahead(here.ahead(endless(), 1, "first"), 1, "second")
    next(flow)
    assert here.working()
    flow.close()
    end = time.monotonic() + 60
    while here.working() and time.monotonic() < end:
        time.sleep(0.05)
    assert not here.working()


@pytest.mark.parametrize(("rows", "sizes"), [(None, [1] * 7), (1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (8, [7])])
def test_tables_of_so_many_rows(rows: int | None, sizes: list[int]) -> None:
    found = list(here.sized((table for table in tables(7)), rows))
    assert [table.num_rows for table in found] == sizes
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(7))
    whole = here.sized((table for table in [pa.table({"n": [0, 1, 2, 3]})]), 3)
    assert [table["n"].to_pylist() for table in whole] == [[0, 1, 2], [3]]


def test_when_it_is_to_stop_what_came_out_of_a_stage_goes_on_to_the_end() -> None:
    stopping = threading.Event()

    def slow(table: pa.Table) -> pa.Table:
        if table["n"].to_pylist() == [1]:
            stopping.set()
        return table

    stages = (Stage("first", lambda: slow, (), 1), Stage("last", lambda: lambda table: table, (), 2))
    engine = here.Here(stages, stopping)
    first, last = stages
    flow = engine.each(last, here.sized(engine.each(first, (table for table in tables(9))), 2))
    assert [table["n"].to_pylist() for table in flow] == [[0]]


# A run whose second stage kills the process for one photo, as a crash of the model would. Lease, index, manifest and
# the other stages are real; no model is loaded.
PROGRAM = """
import sys, threading, uuid
from pipeline.config.job import Job
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.manifest.pending import pending
from pipeline.run import lease
from pipeline.run.chain import Stage, publisher, reader
from pipeline.run.here import Here
from tests.corpus.deadly import Deadly, Faceless

output, folder = sys.argv[1:]
job = Job(Settings(detector="haar", mask="ellipse"), output, uuid.uuid4().hex, "", "", Environment({}), {})
stages = (
    Stage("fetch", reader, (job, 1 << 20)),
    Stage("detect", Deadly, (folder,), 1),
    Stage("restore", Faceless, (), 4),
    Stage("publish", publisher, (job,), 4),
)
with lease.held(output) as mine:
    for done in Here(stages, threading.Event()).tables(pending(output), mine):
        mine.check()
"""


def test_a_photo_that_kills_the_process_twice_fails_and_costs_no_other(tmp_path: Path) -> None:
    members = {f"{n:02}.jpg": bytes([n]) for n in range(30)}
    members = dict([*list(members.items())[:20], ("segfault.jpg", b"x"), *list(members.items())[20:]])
    output, folder = str(tmp_path / "out"), tmp_path / "log"
    folder.mkdir()
    index_sources([put(str(tmp_path), "scans.tar", tar_bytes(members))], output)

    def start() -> int:
        return subprocess.run([sys.executable, "-c", PROGRAM, output, str(folder)], cwd=Path.cwd()).returncode

    assert start() == -signal.SIGSEGV
    left_over = lease.read_holder(Output(output).lease)
    assert left_over is not None and left_over.alone == ""  # many were in progress
    assert counts(output).pending > 10

    assert start() == -signal.SIGSEGV
    left_over = lease.read_holder(Output(output).lease)
    with query.connect(output) as connection:
        ids = query.run(connection, "SELECT photo_id FROM index WHERE member = 'segfault.jpg'")["photo_id"].to_pylist()
    assert left_over is not None and [left_over.alone] == ids
    assert counts(output).pending == 11  # those before it are done, one by one

    assert start() == 0
    found = counts(output)
    assert (found.indexed, found.no_face, found.failures, found.pending) == (31, 30, {"worker_died": 1}, 0)
    with query.connect(output) as connection:
        (row,) = query.run(connection, "SELECT member, error FROM photos WHERE status = 'failed'").to_pylist()
    assert (row["member"], row["error"].split(",")[0]) == ("segfault.jpg", "the process died twice with this photo")
    assert (folder / "segfault.jpg").read_text().split() == ["1", "1"]
    assert not Path(Output(output).lease).exists()


def test_the_query_string_of_a_source_is_nowhere_in_output(
    tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_queries", {})
    output = tmp_path / "out"
    with serve() as server:
        server.files["/scans.tar?jwt=SECRET"] = tar_bytes({"a.jpg": encoded(hopper(96)), "b.jpg": b"damaged"})
        index_sources([f"{server.url}/scans.tar?jwt=SECRET"], str(output))
        job = prepare.with_dtype(prepare.prepare(str(output), Settings(weights=tiny_weights)), Resources())
        with lease.held(str(output)) as mine:
            *_, last = attempt.restore(job, Resources(), mine, ray_from=HERE)
        assert (last.done, last.failed) == (2, 1)
        files = [file for file in output.rglob("*") if file.is_file()]
        tables = [str(pq.read_table(file).to_pylist()) for file in files if file.suffix == ".parquet"]
        assert len(tables) >= 2 and sum(f"{server.url}/scans.tar" in table for table in tables) >= 2
        assert "SECRET" not in "".join([*map(str, files), *tables, repr(job)])
        assert not [file for file in files if b"SECRET" in file.read_bytes()]
