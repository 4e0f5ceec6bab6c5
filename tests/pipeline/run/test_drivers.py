"""Drivers that die, in real actors with stand-in work. test_run has two of them, and test_chaos_on_s3 kills some."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.cluster import demand
from pipeline.config.resources import Resources
from pipeline.index.units import PLACE, Pending
from pipeline.run import drivers
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import Stage
from pipeline.run.drivers import Driver, Drivers
from pipeline.run.prepare import RunError
from pipeline.run.progress import Done
from pipeline.storage.errors import StorageError

pytestmark = pytest.mark.usefixtures("ray_cluster")

PHOTOS = 10
SIZES = BatchSizes(call_photos=1, part_photos=1, block_bytes=1 << 20)
COMMITTED = 2  # photos that a driver commits before it dies; it tells of the first alone


def pending(photos: int = PHOTOS) -> Pending:
    rows = [{"file": 0, "row": row, "bytes": 1, "streamed": False} for row in range(photos)]
    schema = pa.schema([field for field in PLACE if field.name != "photo_id"])
    return Pending("out", ["a"], pa.Table.from_pylist(rows, schema))


class Mortal(Driver):
    """Dies in its first lives, if its share has the first photo. lives: the name of the first stage, times an x."""

    def work(self, stages: Any, pending: Pending, *others: Any) -> Iterator[Done]:
        lives = Path(stages[0].name)
        if pending.places["row"][-1].as_py() == PHOTOS - 1:
            yield Done(len(pending))
            return
        if len(lives.read_text()) < stages[0].photos:
            lives.write_text(lives.read_text() + "x")
            yield Done(1)
            os.kill(os.getpid(), signal.SIGKILL)
        yield Done(len(pending))


class Vain(Driver):
    """Dies before it did anything."""

    def work(self, *others: Any) -> Iterator[Done]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield Done()


class Unlucky(Driver):
    """Writes down the CPUs that Ray Data counts on in this process, then finds that the storage is gone."""

    def work(self, stages: Any, *others: Any) -> Iterator[Done]:
        from ray.data._internal.cluster_autoscaler import DefaultAutoscalingCoordinator

        (share,) = DefaultAutoscalingCoordinator("test").get_reserved_resources().values()
        with Path(stages[0].name).open("a") as file:
            file.write(f"{share['CPU']}\n")
        yield Done(1)
        raise StorageError("s3://archive: the server cannot be reached", "unreachable")


def several(
    monkeypatch: pytest.MonkeyPatch, kind: type[Driver], lives: Path, deaths: int, committed: int
) -> tuple[Drivers, list[str]]:
    monkeypatch.setattr(drivers, "Driver", kind)
    lives.write_text("")
    stages, said = [Stage(str(lives), lambda: iter, (), deaths)], list[str]()
    resources = Resources(max_actors=2, drivers=2)
    return Drivers(stages, pending(), resources, SIZES, lambda share: share.split(committed)[1], said.append), said


def test_a_driver_that_dies_is_started_again_with_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted what it committed, whether it told of it or not; and the other one goes on."""
    run, said = several(monkeypatch, Mortal, tmp_path / "lives", deaths=2, committed=COMMITTED)
    assert run.lines() == ["driver 1 of 2: 0 of 5 files", "driver 2 of 2: 0 of 5 files"]
    assert sum(done.photos for done in run.done()) == PHOTOS
    assert [line.partition("; ")[2] for line in said] == [f"files left: {n}; starting it again" for n in (3, 1)]
    assert all(line.startswith("driver 1 of 2 died (") for line in said)
    assert run.lines() == ["driver 1 of 2: 5 of 5 files, died 2 times, started again", "driver 2 of 2: 5 of 5 files"]


@pytest.mark.slow
def test_a_driver_that_dies_again_and_again_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = several(monkeypatch, Vain, tmp_path / "lives", deaths=0, committed=0)
    with pytest.raises(RunError, match=r"driver \d of 2 died .*, 3 times without a photo done"):
        list(run.done())
    assert 2 <= len(said) <= 4  # of the other one, too


def test_a_driver_that_dies_after_a_stop_stays_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = several(monkeypatch, Mortal, tmp_path / "lives", deaths=2, committed=COMMITTED)
    run.stop()
    assert sum(done.photos for done in run.done()) == COMMITTED + PHOTOS // 2
    (line,) = said
    assert line.endswith("; files left: 3")


def test_drivers_count_on_their_shares_and_what_one_met_arrives_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = tmp_path / "lives"
    run, said = several(monkeypatch, Unlucky, lives, deaths=0, committed=0)
    with pytest.raises(StorageError) as caught:
        list(run.done())
    cause = getattr(caught.value, "cause", None)
    assert isinstance(cause, StorageError) and cause.reason == "unreachable" and not said
    seen = demand.look()
    assert seen is not None and seen.total["CPU"] > 0
    assert {float(line) * 2 for line in lives.read_text().splitlines()} == {seen.total["CPU"]}
