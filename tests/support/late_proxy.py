"""Storage that answers late: a `FaultProxy` in a process of its own, so that it takes no time from what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

from tests.support.fault_proxy import FaultProxy


@dataclass(frozen=True)
class LateProxy:
    """endpoint: its address, for AWS_ENDPOINT_URL. May be passed to one other process, which then asks it."""

    endpoint: str
    pipe: Connection

    def requests(self) -> int:
        """How many there were so far."""
        self.pipe.send(None)
        return int(self.pipe.recv())


@contextmanager
def late_proxy(port: int, seconds: float) -> Iterator[LateProxy]:
    """Before the server at this port of 127.0.0.1. seconds: what each answer waits."""
    fresh = get_context("spawn")
    ours, theirs = fresh.Pipe()
    process = fresh.Process(target=_serve, args=(port, seconds, theirs), daemon=True)
    process.start()
    try:
        yield LateProxy(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()


def _serve(port: int, seconds: float, told: Connection) -> None:
    """Until the process ends; tells its address, then the number of requests so far at each question."""
    with FaultProxy(port, {"slow": 1.0}, seconds=seconds) as proxy:
        told.send(proxy.endpoint)
        while True:
            told.recv()
            told.send(proxy.counts.total())
