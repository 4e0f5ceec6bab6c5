"""A run on a cluster of several raylets against a real S3 server behind a bad network, and a killer at large.

Whatever dies, the same command started again ends with every indexed photo exactly once in the manifest and every
restored file whole.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from jobs.run import Request
from jobs.run import run as restore
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from pipeline.run.status import read_status
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy
from tests.support.pictures import coffee, encoded, hopper

RATES = {"slow_down": 0.02, "internal_error": 0.01, "reset": 0.02, "lost": 0.01, "cut": 0.02, "short": 0.02}
NODES = 2  # beside the head, which has no CPUs
PATIENCE = 600  # seconds to allow for on a busy machine
FACES_EVERY = 10
OTHERS = (b"IDLE", b"Agent")  # in the titles of a raylet's processes that do no work for a run
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # how long Ray waits for a head that is gone; by default a minute


def photos(count: int) -> dict[str, bytes]:
    """Small, so that a run takes seconds; few have a face."""
    face, none = encoded(hopper(96)), encoded(coffee(96))
    return {f"box{n // 50}/{n:04}.jpg": none if n % FACES_EVERY else face for n in range(count)}


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
    """The cluster, and the command that is started on it again and again."""

    sources: list[str]
    output: str
    weights: str
    log: Path
    chance: random.Random
    drivers: int = 1
    cluster: Any = field(default_factory=new_cluster)
    nodes: list[Any] = field(default_factory=list)
    driver: subprocess.Popen[bytes] | None = None

    def grow(self) -> None:
        """Two live nodes; a busy machine may have cost one that nobody struck."""
        self.nodes = [node for node in self.nodes if node.all_processes["raylet"][0].process.poll() is None]
        while len(self.nodes) < NODES:
            self.nodes.append(patiently(self.new_node))

    def new_node(self) -> Any:
        return self.cluster.add_node(num_cpus=1 + self.drivers, object_store_memory=100 << 20)

    def start(self) -> None:
        command = [sys.executable, "-m", "jobs", "restore", *self.sources, "--output", self.output]
        command += ["--weights", self.weights, "--actors", str(self.drivers), "--drivers", str(self.drivers)]
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=Path.cwd())

    @property
    def running(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def finish(self) -> None:
        """Start as often as it takes; a run that could not complete says so with 1."""
        for _ in range(3):
            if not self.running:
                self.start()
            assert self.driver is not None
            if self.driver.wait(PATIENCE) == 0:
                return
        raise AssertionError(self.log.read_text())

    def parts(self) -> int:
        return len(storage.list_files(self.output + "/manifest")) if storage.exists(self.output + "/manifest") else 0

    def wait_for_parts(self, more: int) -> None:
        """Until parts were committed, or the run came to its end."""
        wanted = self.parts() + more
        self.wait(lambda: self.parts() >= wanted or not self.running)

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
        self.wait(lambda: not self.running or self.busy())
        with suppress(ProcessLookupError, IndexError):  # the process, or the run, ended meanwhile
            os.kill(self.chance.choice(self.busy()), signal.SIGKILL)

    def kill_share(self) -> None:
        """One of several drivers; the command goes on."""
        self.wait(lambda: not self.running or self.shares())
        with suppress(ProcessLookupError, IndexError):
            os.kill(self.chance.choice(self.shares()), signal.SIGKILL)

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

    def busy(self) -> list[int]:
        """Processes that work, which a raylet starts; idle ones are called ray::IDLE.

        Not its two agents, though: a raylet ends when one of them does, and that is `kill_raylet`.
        """
        found = [
            pid for node in self.nodes for pid, name in processes(node) if not any(kind in name for kind in OTHERS)
        ]
        return sorted(found)

    def shares(self) -> list[int]:
        """Drivers that are actors beside the command, on the head."""
        return sorted(pid for pid, name in processes(self.cluster.head_node) if name.startswith(b"ray::Driver"))

    def end(self) -> None:
        self.kill_driver()
        self.cluster.shutdown()


def processes(node: Any) -> Iterator[tuple[int, bytes]]:
    """Number and title of each process that a raylet started."""
    raylet = node.all_processes["raylet"][0].process.pid
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            name = (folder / "cmdline").read_bytes()
            if parent == raylet and name.startswith(b"ray::"):
                yield int(folder.name), name


@pytest.fixture
def lab(
    bucket: str,
    s3: CephGateway,
    tiny_weights: str,
    tmp_path: Path,
    fresh_clients: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """Makes a lab for a number of photos; it goes with the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # A cluster that an earlier test started left Ray's token authentication on, with the token in another home.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ExitStack() as stack:

        def make(count: int, seed: int, drivers: int = 1) -> tuple[Lab, FaultProxy]:
            members = list(photos(count).items())
            half = count // 2
            sources = [
                put(bucket, "in/scans.tar", tar_bytes(dict(members[:half]))),
                put(bucket, "in/more.zip", zip_bytes(dict(members[half:]))),
            ]
            proxy = stack.enter_context(FaultProxy(s3.rgw_port, RATES, seed=seed))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            run = Lab(sources, f"{bucket}/out", tiny_weights, tmp_path / "log", random.Random(seed), drivers)
            stack.callback(run.end)
            run.grow()
            return run, proxy

        yield make


def check(output: str, count: int, may_fail: set[str]) -> None:
    found = counts(output)
    assert found.adds_up
    assert (found.indexed, found.pending, found.skipped) == (count, 0, 0)
    assert found.failures.keys() <= may_fail
    assert found.restored + found.no_face == count - found.failed
    with query.connect(output) as connection:
        sql = "SELECT count(*), count(DISTINCT photo_id), count(DISTINCT source || member) FROM photos"
        assert [column[0].as_py() for column in query.run(connection, sql).columns] == [count] * 3
        sql = "SELECT restored_uri, restored_sha256 FROM photos WHERE status = 'restored'"
        restored = {row["restored_uri"]: row["restored_sha256"] for row in query.run(connection, sql).to_pylist()}
    whole = {uri: hashlib.sha256(storage.read_bytes(uri)).hexdigest() for uri in restored}
    assert whole == restored
    listed = {f"{output}/restored/{name}" for name, _ in storage.list_files(f"{output}/restored")}
    assert listed == set(restored)


def rounds(lab: Any, victims: list[str], seed: int, photos_a_round: int, drivers: int = 1) -> Lab:
    count = photos_a_round * (len(victims) + 1)
    run: Lab
    run, proxy = lab(count, seed, drivers)
    met = 0  # strikes that hit a working run; the last one may come after the run
    for victim in victims:
        if not run.running:
            run.start()
        run.wait_for_parts(run.chance.randint(1, 2))
        met += run.running
        run.strike(victim)
    run.finish()
    assert met >= len(victims) - 1
    check(run.output, count, may_fail={"worker_died"})
    assert sum(proxy.counts[fault] for fault in RATES) > 0
    return run


@pytest.mark.slow  # three minutes; test_kill.py strikes a worker and a driver on a smaller run every time
@pytest.mark.timeout(1200)
def test_three_rounds(lab: Any) -> None:
    rounds(lab, ["worker", "raylet", "driver"], seed=5, photos_a_round=32)


@pytest.mark.slow  # test_run restores with two drivers every time, and test_drivers has stand-ins that die
@pytest.mark.timeout(3600)
def test_three_drivers(lab: Any, tmp_path: Path) -> None:
    """Drivers, workers and the command are killed; the files are those of a run in one process."""
    victims = ["share", "worker", "share", "driver", "share"]
    run = rounds(lab, victims, seed=7, photos_a_round=24, drivers=3)
    said = run.log.read_text()
    assert "3 drivers" in said and re.search(r"^driver \d of 3 died .*; starting it again$", said, re.MULTILINE), said
    status = read_status(run.output)
    assert (status.counts.adds_up, status.counts.pending, status.holder) == (True, 0, None)
    alone = str(tmp_path / "alone")
    restore(Request(run.sources, alone, Settings(weights=run.weights), engine="here"))
    assert digests(run.output).items() <= digests(alone).items()
    assert len(digests(alone)) - len(digests(run.output)) <= status.counts.failed  # of worker_died


def digests(output: str) -> dict[str, str]:
    """Path below restored/ -> sha256, by the manifest, with which `check` compares the files."""
    with query.connect(output) as connection:
        sql = "SELECT restored_uri, restored_sha256 FROM photos WHERE status = 'restored'"
        rows = query.run(connection, sql).to_pylist()
    return {row["restored_uri"].removeprefix(output): row["restored_sha256"] for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_twenty_rounds(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECONNECT, "20")
    victims = random.Random(20).choices(["worker", "raylet", "driver"], k=17) + ["head"] * 3
    random.Random(20).shuffle(victims)
    rounds(lab, victims, seed=20, photos_a_round=32)
