"""Several drivers of Ray Data for one run, each for its own share of the photos.

One driver follows every block of a run, which takes it a core at some 550 photos of 1 MB a second
(`python -m tests.scale.driver_rate`). So the process of the command only coordinates: it holds the lease and the list
of attempts, merges the manifest and counts. The drivers are actors beside it, each with its share of the photos, of the
actors and of the cluster, and with ledgers of its own.

They need no lease of their own: Ray ends an actor with the job that it belongs to, so they never outlive the holder of
the run's lease by more than a moment, and what they finish in it is what any worker finishes that loses its driver.

A driver that dies is started again with what is left of its share, and with new ledgers: its workers died with it, and
this is no photo's fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from interlcm.errors import InterLCMError
from pipeline.cluster import ray_private
from pipeline.config.resources import Resources
from pipeline.index.units import Pending
from pipeline.run import ledger, on_ray
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import Stage
from pipeline.run.prepare import RunError
from pipeline.run.progress import Done
from pipeline.run.waiting import Facts

TELL_EVERY = 1.0  # seconds between the counts that a driver passes on
DIED = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)  # the latter where Ray ended it for its memory
DEATHS = 3  # of a driver, without a photo done in between; then the run stops


class Driver:
    """Actor: a driver of Ray Data. The others of the run have as much of the cluster."""

    def __init__(self, drivers: int) -> None:
        ray_private.take_share(drivers)

    def work(
        self, stages: Sequence[Stage], pending: Pending, resources: Resources, sizes: BatchSizes, book: ledger.Book
    ) -> Iterator[Done]:
        """Restore these photos; yields what was committed. Raises the stages' errors."""
        try:
            made, told = Done(), time.monotonic()
            dataset = on_ray.dataset(stages, pending, resources, sizes, book)
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                made += Done.of(table)
                if time.monotonic() - told >= TELL_EVERY:
                    yield made
                    made, told = Done(), time.monotonic()
            yield made
        except Exception as error:
            cause = getattr(error, "cause", None)  # Ray's wrapper of a worker's error would be wrapped once more
            if isinstance(cause, InterLCMError):
                raise cause from None
            raise


@dataclass
class Share:
    """What one driver has to do. done: what it did, in all its lives. deaths: all of them; idle: those in a row
    without a photo done in between. counted: photos of `pending` that this life told of."""

    name: str
    pending: Pending
    resources: Resources
    total: int
    book: ledger.Book
    done: int = 0
    deaths: int = 0
    idle: int = 0
    counted: int = 0
    actor: Any = None

    @property
    def line(self) -> str:
        """For the status of the run."""
        died = f", died {self.deaths} times, started again" if self.deaths else ""
        return f"{self.name}: {self.done} of {self.total} files{died}"


class Drivers:
    """The drivers of an attempt.

    left: the photos of a share that have no result of this attempt yet, asked after a death. say: gets a line about
    each death.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        pending: Pending,
        resources: Resources,
        sizes: BatchSizes,
        left: Callable[[Pending], Pending],
        say: Callable[[str], None],
    ) -> None:
        self.stages, self.sizes, self.left, self.say = stages, sizes, left, say
        photos = pending.shares(resources.drivers)
        parts = replace(resources, drivers=len(photos)).shares()  # fewer for a few photos
        self.shares = [
            Share(f"driver {n} of {len(photos)}", some, part, len(some), ledger.book(part.max_actors))
            for n, (some, part) in enumerate(zip(photos, parts, strict=True), 1)
        ]
        self.stopping = False

    def done(self) -> Generator[Done, None, None]:
        """What the drivers commit, as they tell of it. Raises their errors, and RunError for one that keeps dying."""
        working: dict[Any, Share] = {self.start(share): share for share in self.shares}
        try:
            while working:
                ready, _ = ray.wait(list(working))
                stream: Any = ready[0]  # Ray's types know no streams
                share = working[stream]
                try:
                    made: Done = ray.get(next(stream))
                except StopIteration:
                    del working[stream]
                    end(share.actor)
                except DIED as error:
                    if isinstance(error, ray.exceptions.RayTaskError):  # the driver lives, and says what it met
                        raise
                    del working[stream]
                    made, again = self.died(share, error)
                    if again:
                        working[self.start(share)] = share
                    yield made
                else:
                    share.counted += made.photos
                    share.done += made.photos
                    share.idle = 0 if made.photos else share.idle
                    yield made
        finally:
            for share in self.shares:
                end(share.actor)

    def start(self, share: Share) -> Any:
        """A new driver for a share; returns the stream of what it commits."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        kind = ray.remote(num_cpus=0)(Driver).options(scheduling_strategy=here)
        share.actor = kind.remote(len(self.shares))
        stream = share.actor.work.options(num_returns="streaming")
        return stream.remote(self.stages, share.pending, share.resources, self.sizes, share.book)

    def died(self, share: Share, error: Exception) -> tuple[Done, bool]:
        """Count what a dead driver did not tell of, and say whether it is to be started again."""
        end(share.actor)
        left = self.left(share.pending)
        # Fewer than it told of if it had begun a member of several pages: the member is counted again.
        untold = len(share.pending) - len(left) - share.counted
        share.idle = 0 if share.counted + untold > 0 else share.idle + 1
        share.pending, share.done, share.deaths = left, share.done + untold, share.deaths + 1
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")  # Ray says much more
        words = f"{share.name} died ({reason})"
        if share.idle == DEATHS:
            raise RunError(f"{words}, {DEATHS} times without a photo done; see the memory of its node, and start again")
        over = self.stopping or not len(left)  # then no ledger is needed
        share.book, share.counted = ledger.Book(()) if over else ledger.book(share.resources.max_actors), 0
        again = not over and not self.stopping  # a stop may have come meanwhile, too early for the new ledgers
        self.say(f"{words}; files left: {len(left)}" + ("; starting it again" if again else ""))
        return Done(untold), again

    def stop(self) -> None:
        """Let each driver commit what is in progress and end."""
        self.stopping = True
        for share in self.shares:
            share.book.stop()

    def look(self) -> Facts:
        """What the workers of all drivers are at."""
        return ledger.look(ledger.Book(tuple(one for share in self.shares for one in share.book.ledgers)))

    def lines(self) -> list[str]:
        return [share.line for share in self.shares]


def end(actor: Any) -> None:
    """End a driver, and with it the actors and tasks that it started."""
    with suppress(ray.exceptions.RayError):
        ray.kill(actor)
