"""The ledger of photos in progress: it finds, isolates and records a photo that kills its worker.

Ray restarts a dead worker and gives it the same photos, again and again. So each stage tells one small actor which
photos it begins and ends. When a worker dies, its photos have begun but not ended. The next worker takes each of them
alone, and after a second death the photo fails with `worker_died`. Photos are not blamed for a node that disappears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.run.chain import Work
from pipeline.stages.row import ended, to_table

DEATHS = 2  # of workers with a photo in progress, the last one with the photo alone; then the photo fails


class Ledger:
    """An actor beside the driver that knows which photos are in progress and whether the run should stop."""

    def __init__(self) -> None:
        self.in_progress: dict[tuple[str, str], str] = {}  # (stage, photo_id) -> node
        self.deaths: dict[tuple[str, str], int] = {}
        self._stopping = False

    def begin(self, stage: str, photos: list[str], node: str, last: bool = False) -> str:
        """Note the photos and answer "go", or note nothing and answer "alone" (take them one by one) or "stop".

        last: the caller is the last stage, which goes on after a stop to commit what the others made.
        """
        if self._stopping and not last:
            return "stop"
        keys = [(stage, photo) for photo in photos]
        if any(key in self.in_progress or key in self.deaths for key in keys):
            return "alone"
        self.in_progress.update(dict.fromkeys(keys, node))
        return "go"

    def begin_alone(self, stage: str, photo: str, node: str) -> bool:
        """Note one photo; False if it has killed too many workers."""
        key = (stage, photo)
        before = self.in_progress.pop(key, None)
        if before is not None and alive(before):
            self.deaths[key] = self.deaths.get(key, 0) + 1
        if self.deaths.get(key, 0) >= DEATHS:
            return False
        self.in_progress[key] = node
        return True

    def end(self, stage: str, photos: list[str]) -> None:
        for photo in photos:
            self.in_progress.pop((stage, photo), None)
            self.deaths.pop((stage, photo), None)

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping


def alive(node: str) -> bool:
    return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())


def ledger() -> Any:
    """A new Ledger, for one attempt. Ray ends it with the last reference."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(num_cpus=0)(Ledger).options(**options).remote()


class Isolated:
    """Actor: a stage that keeps the ledger.

    It keeps an error of the stage's constructor until the first photos arrive, and raises it then: Ray would wrap an
    error in an actor's constructor in a traceback.
    """

    def __init__(self, stage: Callable[..., Work], arguments: tuple[Any, ...], book: Any) -> None:
        self.name, self.book = stage.__name__, book
        self.error: Exception | None = None
        try:
            self.work = stage(*arguments)
        except Exception as error:
            self.error = error

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        if self.error is not None:
            raise self.error
        yield from isolated(table, self.work, self.name, self.book)


def isolated(table: pa.Table, work: Work, stage: str, book: Any, last: bool = False) -> Iterator[pa.Table]:
    """Apply `work` to a table of photos; a photo that killed its workers passes through as a failed row.

    Photos with a status only pass through, so they are not noted. After a stop only the last stage returns rows; the
    other photos stay pending.
    """
    node = ray.get_runtime_context().get_node_id()
    photos = table["photo_id"].filter(pc.is_null(table["status"])).to_pylist()
    verdict = ray.get(book.begin.remote(stage, photos, node, last)) if photos else "go"
    if verdict == "go":
        yield from _outputs(work(table))
        book.end.remote(stage, photos)
    elif verdict == "alone":
        for place in range(table.num_rows):
            yield from _one(table.slice(place, 1), work, stage, book, node)


def _one(table: pa.Table, work: Work, stage: str, book: Any, node: str) -> Iterator[pa.Table]:
    (row,) = table.select(["photo_id", "status"]).to_pylist()
    if row["status"] is not None:
        yield from _outputs(work(table))
    elif ray.get(book.begin_alone.remote(stage, row["photo_id"], node)):
        yield from _outputs(work(table))
        book.end.remote(stage, [row["photo_id"]])
    else:
        words = f"its worker died {DEATHS} times in {stage}, finally with this photo alone: a crash, or out of memory"
        yield from _outputs(work(to_table([ended(table.to_pylist()[0], "failed", "worker_died", words)])))


def _outputs(made: pa.Table | Iterator[pa.Table]) -> Iterator[pa.Table]:
    if isinstance(made, pa.Table):
        yield made
    else:
        yield from made
