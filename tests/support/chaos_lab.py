"""A cluster of several raylets, an S3 server behind a bad network, and ways to strike the run between them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from pipeline import storage
from tests.support.chaos import LEDGER, SHARE, STAGES, working
from tests.support.fault_proxy import FaultProxy

RATES = {"slow_down": 0.02, "internal_error": 0.01, "reset": 0.02, "lost": 0.01, "cut": 0.02, "short": 0.02}
NODES = 2  # beside the head, which has no CPUs
PATIENCE = 600  # seconds to allow for on a busy machine
STORM = 20.0  # seconds for which storage is out of order


def patiently(start: Callable[[], Any]) -> Any:
    """Ray allows a node 30 s to start, less than some take on a busy machine."""
    for _ in range(2):
        with suppress(Exception, SystemExit):  # of Ray, where the head does not answer in time
            return start()
    return start()


def new_cluster() -> Any:
    head = {"num_cpus": 0, "include_dashboard": False}
    return patiently(lambda: Cluster(initialize_head=True, head_node_args=head))


@dataclass
class Lab:
    """The cluster, and the command that is started on it again and again.

    sources: archives. The command is given one more at each start, so that it has something to do however fast it is.
    """

    sources: list[str]
    output: str
    weights: str
    log: Path
    chance: random.Random
    proxy: FaultProxy
    drivers: int = 1
    cluster: Any = field(default_factory=new_cluster)
    nodes: list[Any] = field(default_factory=list)
    driver: subprocess.Popen[bytes] | None = None
    given: int = 0

    def grow(self) -> None:
        """Two live nodes; a busy machine may have cost one that nobody struck."""
        self.nodes = [node for node in self.nodes if node.all_processes["raylet"][0].process.poll() is None]
        while len(self.nodes) < NODES:
            self.nodes.append(patiently(self.new_node))

    def new_node(self) -> Any:
        return self.cluster.add_node(num_cpus=1 + self.drivers, object_store_memory=100 << 20)

    def start(self, archives: int = 1) -> None:
        """archives: how many more than at the last start."""
        self.given += archives
        command = [sys.executable, "-m", "jobs", "restore", *self.sources[: self.given], "--output", self.output]
        command += ["--weights", self.weights, "--actors", str(self.drivers), "--drivers", str(self.drivers)]
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=Path.cwd())

    @property
    def running(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def finish(self) -> None:
        """Start as often as it takes, with all archives; a run that could not complete says so with 1."""
        for _ in range(4):
            if not self.running:
                self.start(len(self.sources))
            assert self.driver is not None
            if self.driver.wait(PATIENCE) == 0 and self.given >= len(self.sources):
                return
        raise AssertionError(self.log.read_text())

    def parts(self) -> int:
        return len(storage.list_files(self.output + "/manifest")) if storage.exists(self.output + "/manifest") else 0

    def wait_for_parts(self, more: int) -> None:
        """Until parts were committed, or the run came to its end."""
        wanted = self.parts() + more
        self.wait(lambda: self.parts() >= wanted or not self.running)

    def at_work(self) -> bool:
        """Start the command if it is not running, and wait until it has committed something. Whether it still runs."""
        for _ in range(2):  # a run that was on its way may come to its end first
            if not self.running:
                self.start()
            self.wait_for_parts(self.chance.randint(1, 2))
            if self.running:
                return True
        return False

    def wait(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def strike(self, victim: str) -> None:
        """SIGKILL: no handler runs, nothing is flushed or cleaned up."""
        getattr(self, f"kill_{victim}")()

    def kill_driver(self) -> None:
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()

    def kill_worker(self) -> None:
        self.kill_one(STAGES)

    def kill_ledger(self) -> None:
        self.kill_one((LEDGER,))

    def kill_share(self) -> None:
        """One of several drivers; the command goes on."""
        self.kill_one((SHARE,))

    def kill_one(self, titles: tuple[str, ...]) -> None:
        self.wait(lambda: not self.running or self.busy(titles))
        with suppress(psutil.NoSuchProcess, IndexError):  # the process, or the run, ended meanwhile
            self.chance.choice(self.busy(titles)).kill()

    def kill_slow_down(self) -> None:
        """Storage asks for slower requests, whatever is asked of it."""
        self.storm("slow_down")

    def kill_outage(self) -> None:
        """Storage is gone. The run may end by that, or go on."""
        self.storm("reset")

    def storm(self, fault: str) -> None:
        self.proxy.rule = lambda method, path: fault
        time.sleep(STORM)
        self.proxy.rule = None

    def kill_raylet(self) -> None:
        """The run goes on with the two CPUs of the other node before there is another one."""
        self.grow()
        self.cluster.remove_node(self.nodes.pop(self.chance.randrange(NODES)), allow_graceful=False)
        self.wait_for_parts(1)
        self.grow()

    def kill_head(self) -> None:
        """The cluster goes with it. The driver has to see that by itself; the next one works on a new cluster."""
        self.cluster.remove_node(self.cluster.head_node, allow_graceful=False)
        self.wait(lambda: not self.running)
        self.cluster.shutdown()
        self.nodes.clear()
        self.cluster = new_cluster()
        self.grow()

    def busy(self, titles: tuple[str, ...]) -> list[psutil.Process]:
        raylets = [node.all_processes["raylet"][0].process.pid for node in [self.cluster.head_node, *self.nodes]]
        return [one for pid in raylets for one in working(pid, titles)]

    def end(self) -> None:
        self.kill_driver()
        self.cluster.shutdown()
