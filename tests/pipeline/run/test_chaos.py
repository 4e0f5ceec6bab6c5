"""A killer at large: on a cluster of several raylets against a real S3 server behind a bad network, and on a small one.

Whatever dies, the same command started again ends with every indexed photo exactly once in the manifest, no small part
left, and the bytes of restored files that a run had which nobody disturbed.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import s3fs
from ray.cluster_utils import Cluster

from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import compaction, query
from pipeline.manifest.counts import Counts, counts
from pipeline.run import merging
from pipeline.run.status import read_status
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy
from tests.support.pictures import coffee, encoded, hopper

RATES = {"slow_down": 0.02, "internal_error": 0.01, "reset": 0.02, "lost": 0.01, "cut": 0.02, "short": 0.02}
NODES = 2  # beside the head, which has no CPUs
PATIENCE = 600  # seconds to allow for on a busy machine
FACES_EVERY = 10
STAGES = ("MapWorker", "MapBatches")  # in the titles of workers of a run; idle ones are called ray::IDLE
QUICK = ("MapBatches(Detect)", "MapBatches(fetch_open)", "MapBatches(publish_open)")  # that start without torch
LEDGER, SHARE = "ray::Ledger", "ray::Driver"
STORM = 20.0  # seconds for which storage is out of order
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
    proxy: FaultProxy
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


def working(parent: int, titles: tuple[str, ...]) -> list[psutil.Process]:
    """The processes below this one with one of these in their titles, the oldest first."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(parent).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if any(title in " ".join(process.cmdline()) for title in titles):
                    found.append(process)
    return sorted(found, key=lambda process: process.pid)


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

        def make(count: int, seed: int, drivers: int) -> tuple[Lab, Digests]:
            members = list(photos(count).items())
            half = count // 2
            sources = [
                put(bucket, "in/scans.tar", tar_bytes(dict(members[:half]))),
                put(bucket, "in/more.zip", zip_bytes(dict(members[half:]))),
            ]
            wanted = undisturbed(sources, f"{bucket}/undisturbed", tiny_weights)
            proxy = stack.enter_context(FaultProxy(s3.rgw_port, RATES, seed=seed))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            s3fs.S3FileSystem.clear_instance_cache()
            run = Lab(sources, f"{bucket}/out", tiny_weights, tmp_path / "log", random.Random(seed), proxy, drivers)
            stack.callback(run.end)
            run.grow()
            return run, wanted

        yield make


Digests = dict[str, str]  # path below restored/ -> sha256


def undisturbed(sources: list[str], output: str, weights: str) -> Digests:
    """What a run makes that nobody disturbs: one in this process, since both engines make the same bytes."""
    assert run(Request(sources, output, Settings(weights=weights), engine="here")) == 0
    names = [name for name, _ in storage.list_files(f"{output}/restored")]
    return {name: hashlib.sha256(storage.read_bytes(f"{output}/restored/{name}")).hexdigest() for name in names}


def so_far(output: str, wanted: Digests, may_fail: set[str]) -> Counts:
    """At any moment, also during a run: the numbers add up, and restored files are those of the undisturbed run."""
    found = counts(output)
    assert found.adds_up and found.skipped == 0 and found.failures.keys() <= may_fail
    sql = "SELECT restored_uri, restored_sha256 FROM photos WHERE status = 'restored'"
    rows = query.reading(output, lambda connection: query.run(connection, sql)).to_pylist()
    made = {row["restored_uri"].removeprefix(f"{output}/restored/"): row["restored_sha256"] for row in rows}
    assert made.items() <= wanted.items()
    for name, digest in made.items():
        assert hashlib.sha256(storage.read_bytes(f"{output}/restored/{name}")).hexdigest() == digest
    return found


def check(output: str, count: int, wanted: Digests, may_fail: set[str]) -> None:
    """At the end: each photo has one newest row, none is lost, and nothing is left over."""
    found = so_far(output, wanted, may_fail)
    assert (found.indexed, found.pending) == (count, 0)
    assert found.restored + found.no_face == count - found.failed
    with query.connect(output) as connection:
        sql = "SELECT count(*), count(DISTINCT photo_id), count(DISTINCT source || member) FROM photos"
        assert [column[0].as_py() for column in query.run(connection, sql).columns] == [count] * 3
        lost = "SELECT count(*) FROM index ANTI JOIN photos USING (photo_id)"
        assert query.run(connection, lost).columns[0][0].as_py() == 0
    listed = {name for name, _ in storage.list_files(f"{output}/restored")}
    assert listed <= wanted.keys() and len(listed) == found.restored
    assert not storage.exists(f"{output}/run.lock.json")


def rounds(lab: Any, victims: list[str], seed: int, photos_a_round: int, drivers: int = 1) -> Lab:
    count = photos_a_round * (len(victims) + 1)
    run: Lab
    run, wanted = lab(count, seed, drivers)
    met = before = 0  # met: strikes that hit a working run; the last one may come after the run
    for victim in victims:
        if not run.running:
            run.start()
        run.wait_for_parts(run.chance.randint(1, 2))
        met += run.running
        run.strike(victim)
        found = so_far(run.output, wanted, {"worker_died"})
        done = found.indexed - found.pending
        assert done >= before
        print(f"{victim}: {done} of {count}, failed: {found.failed}", flush=True)
        before = done
    run.finish()
    check(run.output, count, wanted, may_fail={"worker_died"})
    compaction.compact(run.output)
    assert [name for name, _ in storage.list_files(f"{run.output}/manifest") if name.startswith("part-")] == []
    check(run.output, count, wanted, may_fail={"worker_died"})
    assert sum(run.proxy.counts[fault] for fault in RATES) > 0
    assert met >= 0.75 * len(victims) - 1, f"the run was over after {met} strikes: it needs more photos"
    return run


SMALL = 24  # photos of an archive of the small run


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(1800)
def test_three_rounds_on_a_small_cluster(tmp_path: Path, tiny_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger, a worker, and both at once; the manifest is compacted all the time."""
    members = list(photos(2 * SMALL).items())
    sources = [
        put(str(tmp_path), "scans.tar", tar_bytes(dict(members[:SMALL]))),
        put(str(tmp_path), "more.zip", zip_bytes(dict(members[SMALL:]))),
    ]
    wanted = undisturbed(sources, str(tmp_path / "undisturbed"), tiny_weights)
    monkeypatch.setattr(compaction, "FEW", 0)
    monkeypatch.setattr(merging, "COMPACT_EVERY", 8)
    output, chance, over = str(tmp_path / "out"), random.Random(18), threading.Event()
    struck: list[str] = []

    def strike(*victims: tuple[str, ...]) -> None:
        """As soon as another part is committed, while the run works; what there is then is right."""
        before = parts()
        while parts() <= before and not over.wait(0.01):
            pass
        for titles in victims:
            hit = False
            while not hit and not over.wait(0.01):  # a worker that starts anew is not there for a moment
                with suppress(psutil.NoSuchProcess, IndexError):
                    victim = chance.choice(working(os.getpid(), titles))
                    name = victim.name()
                    victim.kill()
                    struck.append(name)
                    hit = True
        so_far(output, wanted, set())

    def parts() -> set[str]:
        return {path.name for path in Path(output, "manifest").glob("part-*.parquet")}

    def killer() -> None:
        strike((LEDGER,))
        strike(QUICK)
        strike((LEDGER,), QUICK)

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    try:
        assert run(Request(sources, output, Settings(weights=tiny_weights), actors=(1, 1), engine="ray")) == 0
    finally:
        over.set()
        thread.join()
    # The last worker may have had nothing left to do.
    assert len(struck) >= 3 and len(set(struck)) >= 2, struck
    # What a writer that was killed left half written goes at the next start.
    assert run(Request(sources, output, Settings(weights=tiny_weights), engine="here")) == 0
    check(output, 2 * SMALL, wanted, may_fail=set())
    (name,) = [name for name, _ in storage.list_files(f"{output}/manifest")]
    assert name.startswith("merged-")


@pytest.mark.slow  # three minutes
@pytest.mark.timeout(1200)
def test_three_rounds(lab: Any) -> None:
    rounds(lab, ["worker", "raylet", "driver"], seed=5, photos_a_round=32)


@pytest.mark.slow  # test_run restores with two drivers every time, and test_drivers has stand-ins that die
@pytest.mark.timeout(3600)
def test_three_drivers(lab: Any) -> None:
    """Drivers, a worker and the command are killed."""
    run = rounds(lab, ["share", "worker", "share", "driver", "share"], seed=7, photos_a_round=64, drivers=3)
    said = run.log.read_text()
    assert "3 drivers" in said and re.search(r"^driver \d of 3 died .*; starting it again$", said, re.MULTILINE), said
    status = read_status(run.output)
    assert (status.counts.adds_up, status.counts.pending, status.holder) == (True, 0, None)


@pytest.mark.slow  # half an hour; an hour on a busy machine
@pytest.mark.timeout(7200)
def test_twenty_rounds(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another order each time; CHAOS_SEED repeats one."""
    monkeypatch.setenv(RECONNECT, "20")
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHAOS_SEED={seed}", flush=True)
    victims = ["worker", "ledger", "raylet", "driver", "slow_down", "outage"] * 3 + ["head"] * 2
    random.Random(seed).shuffle(victims)
    rounds(lab, victims, seed=seed, photos_a_round=64)
