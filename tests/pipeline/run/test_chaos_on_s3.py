"""A killer at large on a cluster of several raylets, against a real S3 server behind a bad network.

Whatever dies, the same command started again ends with every indexed photo exactly once in the manifest, no small part
left, and the bytes of restored files that a run had which nobody disturbed. For a small cluster, see test_chaos.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline import storage
from pipeline.manifest import compaction
from pipeline.run.status import read_status
from tests.support.ceph import CephGateway
from tests.support.chaos import Digests, check, scans, so_far, undisturbed
from tests.support.chaos_lab import RATES, Lab
from tests.support.fault_proxy import FaultProxy

PHOTOS = 48  # in an archive
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # how long Ray waits for a head that is gone; by default a minute


@pytest.fixture
def lab(
    bucket: str,
    s3: CephGateway,
    tiny_weights: str,
    tmp_path: Path,
    fresh_clients: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """Makes a lab with a number of archives; it goes with the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # A cluster that an earlier test started left Ray's token authentication on, with the token in another home.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ExitStack() as stack:

        def make(archives: int, seed: int, drivers: int) -> tuple[Lab, Digests]:
            sources = scans(bucket, archives, PHOTOS)
            wanted = undisturbed(sources, f"{bucket}/undisturbed", tiny_weights)
            proxy = stack.enter_context(FaultProxy(s3.rgw_port, RATES, seed=seed))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            s3fs.S3FileSystem.clear_instance_cache()
            run = Lab(sources, f"{bucket}/out", tiny_weights, tmp_path / "log", random.Random(seed), proxy, drivers)
            stack.callback(run.end)
            run.grow()
            return run, wanted

        yield make


def rounds(lab: Any, victims: list[str], seed: int, drivers: int = 1) -> Lab:
    archives = 2 * len(victims) + 1
    count = archives * PHOTOS
    run: Lab
    run, wanted = lab(archives, seed, drivers)
    met = before = 0  # met: strikes that hit a working run
    for number, victim in enumerate(victims, 1):
        met += run.at_work()
        run.strike(victim)
        found = so_far(run.output, wanted, {"worker_died"})
        done = found.indexed - found.pending
        assert done >= before
        words = f"{done} of {found.indexed} photos done, failed: {found.failed}, strikes that hit: {met}"
        print(f"{number} {victim}: {words}", flush=True)
        before = done
    run.finish()
    check(run.output, count, wanted, may_fail={"worker_died"})
    compaction.compact(run.output)
    assert [name for name, _ in storage.list_files(f"{run.output}/manifest") if name.startswith("part-")] == []
    check(run.output, count, wanted, may_fail={"worker_died"})
    assert sum(run.proxy.counts[fault] for fault in RATES) > 0
    assert met >= 0.9 * len(victims), f"only {met} strikes met a run at work: its archives need more photos"
    return run


@pytest.mark.slow  # three minutes
@pytest.mark.timeout(1200)
def test_three_rounds(lab: Any) -> None:
    rounds(lab, ["worker", "raylet", "driver"], seed=5)


@pytest.mark.slow  # test_run restores with two drivers every time, and test_drivers has stand-ins that die
@pytest.mark.timeout(3600)
def test_three_drivers(lab: Any) -> None:
    """Drivers, a worker and the command are killed."""
    run = rounds(lab, ["share", "worker", "share", "driver", "share"], seed=7, drivers=3)
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
    rounds(lab, victims, seed=seed)
