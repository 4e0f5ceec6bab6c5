"""Photos that kill their worker: real signals in real workers of a real pool of actors."""

from __future__ import annotations

import importlib
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
from ray.data import ActorPoolStrategy

from pipeline.cluster.connect import ClusterError
from pipeline.config.resources import Resources
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.photos.errors import PhotoError
from pipeline.run import attempt, lease, ledger, prepare
from pipeline.run.chain import Stage
from pipeline.run.ledger import Book, Isolated, Ledger
from pipeline.run.waiting import Facts
from pipeline.stages import detect
from pipeline.stages import restore as stages_restore
from pipeline.stages import row as stages_row
from pipeline.stages.detect import DetectFaces
from pipeline.stages.restore import RestoreFaces
from pipeline.stages.row import Row
from pipeline.storage import traffic
from pipeline.storage.traffic import Retries
from tests.corpus.deadly import Deadly, Refusing
from tests.support.archives import index_sources, put, tar_bytes
from tests.support.pictures import coffee, encoded, hopper

HERE = "this node"


def rows(*names: str) -> pa.Table:
    return stages_row.to_table([{"photo_id": name, "status": None, "faces": []} for name in names])


def through(stage: Any, arguments: tuple[Any, ...], names: list[str], batch: int) -> list[Row]:
    book = ledger.book()
    chain = ray.data.from_arrow([rows(*names)]).map_batches(
        Isolated,
        batch_size=batch,
        batch_format="pyarrow",
        num_cpus=0.5,
        compute=ActorPoolStrategy(size=1),
        fn_constructor_args=(Stage(stage.__name__, stage, arguments), book),
    )
    return list(chain.take_all())


def worker_logs() -> Iterable[Path]:
    """What the workers of this process's cluster wrote to stderr."""
    (node,) = ray.nodes()
    session = Path(node["ObjectStoreSocketName"]).parents[1]
    return (session / "logs").glob("worker-*.err")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    "names",
    [
        ["a", "once", "segfault", "b"],
        pytest.param(["a", "once", "b", "segfault", "killed", "c"], marks=pytest.mark.slow),  # two minutes of workers
    ],
)
def test_each_killer_is_recorded_and_costs_no_other_photo(tmp_path: Path, names: list[str]) -> None:
    found = through(Deadly, (str(tmp_path),), names, batch=3)
    assert sorted(r["photo_id"] for r in found) == sorted(names)
    failed = {r["photo_id"]: r for r in found if r["status"] is not None}
    logs = "".join(path.read_text() for path in worker_logs())
    assert f"interlcm Deadly begins {' '.join(names[:3])}\n" in logs
    assert f"interlcm Deadly begins {' '.join(names[:3])}, one by one\n" in logs
    assert failed.keys() == {"segfault", "killed"} & set(names)
    for name, current in failed.items():
        assert (current["status"], current["error_type"]) == ("failed", "worker_died")
        assert "died 2 times in Deadly" in current["error"]
        assert current["stage"] == "Deadly" and current["node"] == socket.gethostname()
        began = (tmp_path / name).read_text().split()
        assert began[-1] == "1" and len(began) <= 2  # the last time it was alone


@pytest.mark.usefixtures("ray_cluster")
def test_an_error_of_a_constructor_arrives_as_itself() -> None:
    ray.data.DataContext.get_current().raise_original_map_exception = True
    with pytest.raises(Exception) as caught:
        through(Refusing, (), ["a"], 1)
    cause = getattr(caught.value, "cause", caught.value)
    assert isinstance(cause, PhotoError)
    assert str(cause) == "these weights are not those"


def without_torch() -> Any:
    return importlib.import_module("torch_that_is_not_here")


def test_a_node_without_the_packages_of_a_stage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "retries", Retries())  # the actor sets what this process tells
    stage = Stage("restore", without_torch, ())
    actor = Isolated(stage, Book((None,)))
    with pytest.raises(ClusterError, match=f"{socket.gethostname()}: restore needs torch_that_is_not_here"):
        next(actor(rows("a")))


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(ledger, "host_of", lambda node: "host" if node == HERE else "")
    return Ledger()


def test_a_photo_in_a_dead_workers_hands_is_taken_alone(book: Ledger) -> None:
    assert book.begin("detect", ["a", "b"], HERE) == "go"
    assert book.begin("restore", ["a", "b"], HERE) == "go"  # the photo is not known in another stage
    assert book.begin("detect", ["a", "b", "c"], HERE) == "alone"
    assert book.begin_alone("detect", "a", HERE) == ""
    book.end("detect", ["a"])
    assert book.begin_alone("detect", "b", HERE) == ""
    assert book.begin_alone("detect", "b", HERE) == "host"
    assert book.begin_alone("detect", "b", HERE) == "host"  # a photo that failed stays failed
    assert book.begin("detect", ["a"], HERE) == "go"
    assert book.facts().in_progress == {"restore": 2, "detect": 1}


def test_of_a_block_only_the_photo_that_kills_is_blamed(book: Ledger) -> None:
    """A block is one entry: after a death each photo of it is taken alone, the innocent ones with success."""
    block = [f"{n}" for n in range(16)]
    assert book.begin("detect", block, HERE) == "go"
    failed = []
    for _ in range(3):  # the worker dies with photo 7, again and again; Ray gives its successor the same block
        assert book.begin("detect", block, HERE) == "alone"
        for photo in block:
            if book.begin_alone("detect", photo, HERE):
                failed.append(photo)
            elif photo == "7":
                break
            else:
                book.end("detect", [photo])
    assert failed == ["7", "7"]
    assert book.facts().in_progress == {}


def test_a_node_that_went_away_is_no_photos_fault(book: Ledger) -> None:
    assert book.begin("detect", ["a"], "gone") == "go"
    for _ in range(5):
        assert book.begin("detect", ["a"], HERE) == "alone"
        assert book.begin_alone("detect", "a", "gone") == ""
    book.end("detect", ["a"])
    assert book.begin("detect", ["a"], HERE) == "go"


@pytest.mark.parametrize(("actors", "ledgers"), [(1, 1), (64, 1), (65, 2), (200, 4)])
def test_a_large_run_has_several_ledgers(actors: int, ledgers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same block always the same one."""
    monkeypatch.setattr(ledger, "new", lambda count: tuple(range(count)))
    book = ledger.book(actors)
    assert book == ledger.Book(tuple(range(ledgers)))
    assert {book.of(f"{n:020x}") for n in range(100)} == set(range(ledgers))
    assert all(book.of(f"{n:020x}") == ledger.book(actors).of(f"{n:020x}") for n in range(100))


def test_what_several_processes_know_of_storage_is_put_together(book: Ledger) -> None:
    book.begin("publish", ["a"], HERE)
    book.retried(3, "s3://b/a: SlowDown", True)
    facts = book.facts()
    assert (facts.retries, facts.throttled, facts.retrying) == (3, True, True)
    earlier = replace(facts, retried_ago=5.0, throttled_ago=5.0)
    other = Facts({"publish": 2}, 2, "s3://b/b: reset", 1.0)
    found = ledger.together([Facts.of(Retries()), earlier, other])
    assert (found.in_progress, found.retries, found.last_retry) == ({"publish": 3}, 5, "s3://b/b: reset")
    assert (found.retried_ago, found.throttled_ago) == (1.0, 5.0)
    assert not ledger.together([Facts(), Facts()]).retrying


def test_told_to_stop_only_the_last_stage_goes_on(book: Ledger) -> None:
    book.stop()
    assert book.stopping()
    assert book.begin("detect", ["a"], HERE) == "stop"
    assert book.begin("compose", ["b"], HERE, last=True) == "go"


class DeadlyFind(DetectFaces):
    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        if "find.jpg" in table["member"].to_pylist() and table["status"][0].as_py() is None:
            os.kill(os.getpid(), signal.SIGSEGV)
        yield from super().__call__(table)


class DeadlyRestore(RestoreFaces):
    def __call__(self, table: pa.Table) -> pa.Table:
        open_members = table.filter(pc.is_null(table["status"]))["member"].to_pylist()
        if "restore.jpg" in open_members:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(table)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.slow
def test_a_run_goes_on_past_photos_that_kill_their_workers(
    tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    face, none = encoded(hopper(96)), encoded(coffee(96))
    members = {f"{n}.jpg": face if n % 3 == 0 else none for n in range(9)} | {"find.jpg": none, "restore.jpg": face}
    output = str(tmp_path / "out")
    index_sources([put(str(tmp_path), "scans.tar", tar_bytes(members))], output)
    monkeypatch.setattr(detect, "DetectFaces", DeadlyFind)
    monkeypatch.setattr(stages_restore, "RestoreFaces", DeadlyRestore)
    with lease.held(output) as mine:
        list(attempt.restore(prepare.prepare(output, Settings(weights=tiny_weights)), Resources(), mine))
    found = attempt.audit(output)
    assert (found.restored, found.no_face, found.failed) == (3, 6, 2)
    assert found.failures == {"worker_died": 2}
    with query.connect(output) as connection:
        sql = "SELECT member, error FROM photos WHERE status = 'failed' ORDER BY member"
        failed = {row["member"]: row["error"] for row in query.run(connection, sql).to_pylist()}
    assert " in detect," in failed["find.jpg"] and " in restore," in failed["restore.jpg"]
