"""What a run waits for while nothing moves, and after some minutes what to check."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.cluster.demand import Demand
from pipeline.storage.traffic import Retries

LOOK_EVERY = 10.0  # seconds
LAST = 1.0  # seconds for the work in progress at the end of a block
PHOTO = "no photo"
RECENT = 60.0  # seconds for which a retry counts as trouble with storage
LONG = 300.0  # seconds without a photo, after which a run says what to check


@dataclass(frozen=True)
class Facts:
    """What an engine knows about the work in it.

    in_progress: photos by stage. retries: requests of storage that were repeated. last_retry, retried_ago: about the
    newest one, and seconds since. throttled_ago: seconds since storage last asked for slower requests. on_ray: the run
    works on a cluster. demand: what it is asked for; None if its head does not answer.
    """

    in_progress: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    last_retry: str = ""
    retried_ago: float | None = None
    demand: Demand | None = None
    on_ray: bool = False
    throttled_ago: float | None = None

    @staticmethod
    def of(retries: Retries) -> Facts:
        """What a process knows of its own storage."""
        ago = retries.throttled_ago
        return Facts(retries=retries.count, last_retry=retries.last, retried_ago=retries.ago, throttled_ago=ago)

    @property
    def retrying(self) -> bool:
        return self.retried_ago is not None and self.retried_ago < RECENT

    @property
    def throttled(self) -> bool:
        """Whether storage asks for slower requests."""
        return self.throttled_ago is not None and self.throttled_ago < RECENT

    @property
    def storage(self) -> str:
        """What storage made the run repeat."""
        asks = "storage asks for slower requests," if self.throttled else "storage"
        return f"{asks} retried, times: {self.retries}, the last {self.retried_ago:.0f} s ago: {self.last_retry}"


@dataclass(frozen=True)
class Waiting:
    """A run in which nothing moves. seconds: since the last photo, or since the start. facts: of this moment.

    what: "no photo", or what it does before there can be any. slow: it moves, but storage asks for slower requests.
    """

    seconds: float
    facts: Facts
    what: str = PHOTO
    slow: bool = False

    @property
    def lines(self) -> list[str]:
        """What the run waits for; what cannot come; after LONG what to check.

        While photos are restored in this process, where a face may take a minute on a CPU, there is nothing to say
        until LONG, unless storage makes trouble.
        """
        if self.slow:
            return [f"slow: {self.facts.storage}"]
        if self.what == PHOTO and not self.facts.on_ray and not self.facts.retrying and self.seconds < LONG:
            return []
        said = [f"waiting: {self.what} for {self.seconds:.0f} s; " + "; ".join(self.things)]
        demand = self.facts.demand
        if demand and demand.impossible:
            said.append(f"waiting in vain: no node has {' or '.join(demand.impossible)}, and none is on its way")
        if self.seconds >= LONG:
            said += [f"check: {one}" for one in self.checks]
        return said

    @property
    def things(self) -> list[str]:
        facts = self.facts
        told = _of_demand(facts.demand) if facts.demand else ["the cluster's head does not answer"] * facts.on_ray
        if facts.in_progress:
            told.append(
                "photos in work: " + ", ".join(f"{stage} {n}" for stage, n in sorted(facts.in_progress.items()))
            )
        if facts.retrying:
            told.append(facts.storage)
        return told or ["work goes on"]

    @property
    def checks(self) -> list[str]:
        """What a person looks at first, by what is known."""
        demand, found = self.facts.demand, []
        if self.facts.on_ray and demand is None:
            found.append("whether the head's machine and its network live: ray status")
        if demand and demand.impossible:
            instead = "; for CPUs only: --gpus-per-actor 0" if any("GPU" in one for one in demand.impossible) else ""
            found.append(f"start nodes that have it, or raise max_workers of their type{instead}")
        if demand and demand.refused:
            found.append("the account's quota, and the zone's free machines, for " + ", ".join(sorted(demand.refused)))
        if demand and demand.coming:
            found.append(
                "why nodes take so long: ray status, and monitor.log on the head (image, setup commands, quota)"
            )
        if self.facts.throttled:
            found.append(
                "the storage's limit of requests: fewer actors, or more from the provider; the run waits for it"
            )
        elif self.facts.retrying:
            found.append("the storage: its address, its network, and its limit of requests; the run stops by itself")
        if demand and any(starting for _, starting in demand.actors.values()) and not demand.impossible:
            found.append("whether each node reaches the weights: worker-*.err on it, or the dashboard's page of actors")
        if self.facts.in_progress:
            found.append('the photos in work: the newest line "begins" of worker-*.err, and ray stack on that node')
        if found or self.what != PHOTO:
            return found
        return ["ray status and the dashboard" if self.facts.on_ray else "a stack of the process: py-spy dump --pid"]


def _of_demand(demand: Demand) -> list[str]:
    nodes = [
        f"{demand.nodes} up with {shape(demand.total)}",
        *(f"{count} {kind} on their way" for kind, count in sorted(demand.coming.items())),
    ]
    told = ["nodes: " + ", ".join(nodes)]
    told += [f"{kind} is refused: {reason}" for kind, reason in sorted(demand.refused.items())]
    if demand.actors:
        ready = (f"{stage} {work} of {work + start}" for stage, (work, start) in demand.actors.items())
        told.append("actors ready: " + ", ".join(ready))
    if demand.waiting:
        told.append("no room for " + ", ".join(f"{count} x {shape(one)}" for one, count in demand.waiting))
    return told


def shape(resources: dict[str, float]) -> str:
    """{"GPU": 1, "CPU": 0.5} as "0.5 CPU + 1 GPU"."""
    return " + ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items())) or "nothing"


class Watch:
    """Looks, each time it is called, whether a run moved, and tells what it waits for if not.

    done: the number of photos done. look: the facts. tell: gets the Waiting, or None while the run moves as it should.
    """

    def __init__(
        self,
        done: Callable[[], int],
        look: Callable[[], Facts],
        tell: Callable[[Waiting | None], None],
        what: str = PHOTO,
    ) -> None:
        self.done, self.look, self.tell, self.what = done, look, tell, what
        self.seen, self.moved = done(), time.monotonic()

    def __call__(self) -> None:
        done, facts = self.done(), self.look()
        if done == self.seen:
            self.tell(Waiting(time.monotonic() - self.moved, facts, self.what))
            return
        self.seen, self.moved = done, time.monotonic()
        self.tell(Waiting(0.0, facts, slow=True) if facts.throttled else None)


@contextmanager
def repeated(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Inside this block, a thread runs `work` every `seconds` seconds."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            work()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST)
