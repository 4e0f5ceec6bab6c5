"""Join or start Ray: a start that Ray gives up is retried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from pipeline.cluster import connect as cluster
from pipeline.cluster.connect import ClusterError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


class SlowStart:
    """ray.init on a busy machine: it gives up `times` times, and leaves a process behind each time."""

    def __init__(self, times: int) -> None:
        self.times, self.left = times, list[subprocess.Popen[bytes]]()

    def __call__(self, address: str, **options: Any) -> None:
        if len(self.left) < self.times:
            self.left.append(subprocess.Popen(SLEEP))
            raise Exception("The current node timed out during startup. This could happen because ...")


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another test of this process may have a cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("no_cluster")
def test_a_start_that_ray_gives_up_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start = SlowStart(times=2)
    monkeypatch.setattr(ray, "init", start)
    cluster.connect()
    assert capfd.readouterr().err == "Ray is slow to start on this busy machine; trying again\n"
    assert not any(psutil.pid_exists(process.pid) for process in start.left)  # they would slow down the next start


@pytest.mark.usefixtures("no_cluster")
def test_in_the_end_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STARTING", -1.0)
    start = SlowStart(times=1)
    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(ClusterError, match="did not start within .* start the same command again"):
        cluster.connect()
    start.left[0].kill()
    start.left[0].wait(60)


@pytest.mark.usefixtures("no_cluster")
def test_a_wrong_token_is_said_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        """As Ray 2.60 does: its core writes to stderr, and its exception names no reason."""
        os.write(2, b"gcs_client.cc:210: Failed to get cluster ID: RPC error: InvalidAuthToken: missing or incorrect\n")
        raise ConnectionError("Failed to connect to Ray cluster at 127.0.0.1:6379")

    monkeypatch.setattr(ray, "init", refused)
    monkeypatch.setattr(cluster, "check_listening", lambda address: None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(cluster.ClusterError, match="RAY_ADDRESS=127.0.0.1:6379: the cluster refuses .* RAY_AUTH_TOKEN"):
        cluster.connect()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("no_cluster")
def test_other_errors_are_not_tried_again_and_have_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(address: str, **options: Any) -> None:
        calls.append(address)
        raise OSError(f"AF_UNIX path length cannot exceed 107 bytes\nredis://me:a-secret@host{calls}")

    monkeypatch.setattr(ray, "init", broken)
    with pytest.raises(ClusterError, match="^Ray does not start: AF_UNIX path length .*//host") as caught:
        cluster.connect()
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert calls == ["local"]
