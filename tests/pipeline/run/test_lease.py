"""Two runs on one OUTPUT, on a disk and on a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.run import lease, termination
from pipeline.run.holder import Holder
from pipeline.run.lease import LeaseError
from pipeline.storage import client
from pipeline.storage.output import Output
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy


@pytest.fixture(params=["disk", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else str(request.getfixturevalue("bucket")) + "/run"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RENEW_EVERY": 0.1, "DEAD_AFTER": 1.0, "POLL": 0.1}.items():
        monkeypatch.setattr(lease, name, value)


def elsewhere(output: str) -> Holder:
    """The lease of a process on another machine."""
    holder = Holder("x", "another-host", 1, "", "2026-01-01T00:00:00+00:00")
    lease.write_holder(Output(output).lease, holder)
    return holder


def test_one_at_a_time(output: str, quick: None) -> None:
    with lease.held(output) as mine:
        with (
            pytest.raises(LeaseError, match=f"process {os.getpid()} on .* is working on it; wait") as caught,
            lease.held(output),
        ):
            pass
        assert "\n" not in str(caught.value)
        mine.check()
    assert not storage.exists(Output(output).lease)
    with lease.held(output):
        pass


def test_of_many_that_start_at_once_one_goes_on(output: str) -> None:
    """Allow enough time that no live run counts as dead."""
    ready, done = threading.Barrier(6), threading.Event()

    def start(_: int) -> bool:
        ready.wait()
        try:
            with lease.held(output):
                done.wait(300)
                return True
        except LeaseError:
            return False
        finally:
            refused.release()

    refused = threading.Semaphore(0)
    with ThreadPoolExecutor(6) as pool:
        results = pool.map(start, range(6))
        for _ in range(5):
            refused.acquire(timeout=300)
        done.set()
        assert sorted(results) == [False] * 5 + [True]


def test_one_that_is_renewed_is_alive(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real DEAD_AFTER, because a busy machine may renew it late; the first renewal ends the wait."""
    monkeypatch.setattr(lease, "POLL", 0.1)
    holder, stop = elsewhere(output), threading.Event()
    uri = Output(output).lease

    def renew() -> None:
        while not stop.wait(0.2):
            lease.write_holder(uri, holder)

    renewing = threading.Thread(target=renew)
    renewing.start()
    said: list[str] = []
    try:
        with pytest.raises(LeaseError, match="process 1 on another-host"), lease.held(output, said.append):
            pass
    finally:
        stop.set()
        renewing.join()
    assert len(said) == 1
    assert storage.exists(uri)


def test_one_that_is_not_renewed_is_taken_over(output: str, quick: None) -> None:
    elsewhere(output)
    said: list[str] = []
    with lease.held(output, said.append):
        found = lease.read_holder(Output(output).lease)
        assert found is not None and found.pid == os.getpid()
    assert said and "another-host" in said[0]


HOLD = """
import sys, time
from pipeline.run import lease, termination
with lease.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_whose_process_was_killed_here_is_taken_over_at_once(tmp_path: Path) -> None:
    """With the real times, this must not wait."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LeaseError, match=f"process {other.pid} "), lease.held(str(tmp_path), pytest.fail):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with lease.held(str(tmp_path), pytest.fail) as mine:
            mine.check()


def test_one_of_two_that_took_over_learns_of_it(output: str, quick: None) -> None:
    """Usually the first one stops; the second one does if the first just renewed and overwrote its lease."""
    with lease.held(output) as mine:
        theirs = lease.Lease(output, elsewhere(output))
        end = time.monotonic() + 300
        lost: list[str] = []
        while not lost and time.monotonic() < end:
            time.sleep(0.05)
            lost = [str(one._lost) for one in (mine, theirs) if one._lost]
        time.sleep(0.5)  # some renewals: the other run continues
        assert [str(one._lost) for one in (mine, theirs) if one._lost] == lost
        assert len(lost) == 1
        assert "taken over by process " in lost[0]
        with pytest.raises(LeaseError):
            mine.check()
            theirs.check()
        theirs.release()
    assert not storage.exists(Output(output).lease)


def test_something_else_under_its_name_is_left_alone(tmp_path: Path) -> None:
    for text in (b"{}", b"[]", b"text", json.dumps({"renewed_at": 1, "id": "x"}).encode()):
        Path(Output(str(tmp_path)).lease).write_bytes(text)
        with pytest.raises(LeaseError, match="not a lease; remove this file"), lease.held(str(tmp_path)):
            pass
        assert Path(Output(str(tmp_path)).lease).read_bytes() == text


def test_a_container_of_the_same_host_name_does_not_know_who_runs(tmp_path: Path) -> None:
    """Process 1 of another namespace is not process 1 here: only its silence shows that it is gone."""
    here = Holder.here()
    assert here.is_here and here.namespace
    other = replace(here, pid=2**22, born="another", namespace="pid:[1]")
    assert not other.is_here
    assert replace(other, namespace=here.namespace).gone


def test_a_damaged_lease_is_written_anew_by_its_holder(output: str, quick: None) -> None:
    uri = Output(output).lease
    with lease.held(output) as mine:
        storage.write_bytes(uri, b"{")
        end = time.monotonic() + 60
        while storage.read_bytes(uri) == b"{" and time.monotonic() < end:
            time.sleep(0.05)
        found = lease.read_holder(uri)
        assert found is not None and found.pid == os.getpid()
        mine.check()


def test_storage_that_does_not_answer_holds_up_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's error is not kept back for the minutes in which requests to remove the lease are repeated."""
    monkeypatch.setattr(lease, "PATIENCE", 0.01)
    back, output = threading.Event(), str(tmp_path / "out")
    with pytest.raises(storage.StorageError, match="no answer"), lease.held(output):
        monkeypatch.setattr(lease, "read_holder", lambda uri: back.wait() and None)  # what a request does meanwhile
        raise storage.StorageError("no answer", "unreachable")
    assert storage.exists(f"{output}/run.lock.json")
    back.set()


def test_sigterm_ends_a_run_that_waits_for_storage(
    bucket: str, s3: CephGateway, fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage asks for slower requests, and would do so for ever."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for module, name, value in ((termination, "GRACE", 0.2), (termination, "END", 1e6), (lease, "PATIENCE", 0.01)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.01)
    with FaultProxy(s3.rgw_port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with (
            pytest.raises(termination.TerminatedError),
            lease.held(f"{bucket}/run") as mine,
            termination.heeded(lambda: None, bucket),
        ):
            proxy.rule = lambda method, path: "slow_down"
            while not proxy.counts["slow_down"]:  # the lease is being renewed
                time.sleep(0.01)
            mine.note(["what it waits for"])
            os.kill(os.getpid(), signal.SIGTERM)
            storage.write_bytes(f"{bucket}/a.bin", b"")
        proxy.rule = None
        for thread in threading.enumerate():
            if thread.name in ("lease", "release"):
                thread.join()
        assert not storage.exists(f"{bucket}/run/run.lock.json")
