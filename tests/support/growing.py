"""A cluster that grows: Ray's own autoscaler with its fake provider, whose nodes are raylets on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.ceph import free_port

SECONDS = 300  # more than a head takes on a busy machine


def configuration(address: str, types: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What `ray up` would take; types: resources and most nodes of each type, beside a head without CPUs."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    return {
        "cluster_name": "growing",
        "max_workers": 8,
        "upscaling_speed": 4.0,
        "idle_timeout_minutes": 5,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": {"ray.head.default": head}
        | {name: {"node_config": {}, "min_workers": 0, **kind} for name, kind in types.items()},
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        **dict.fromkeys(("initialization_commands", "setup_commands", "head_setup_commands"), []),
        **dict.fromkeys(("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"), []),
    }


@contextmanager
def growing(types: dict[str, dict[str, Any]], environment: dict[str, str]) -> Iterator[str]:
    """A head without CPUs, whose autoscaler starts nodes of these types when something waits for them; its address.

    Ray's AutoscalingCluster would stop every Ray of this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need a short path
    port = free_port()
    (folder / "config.json").write_text(json.dumps(configuration(f"127.0.0.1:{port}", types)))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=0"]
    command += ["--node-ip-address=127.0.0.1", f"--autoscaling-config={folder}/config.json", "--block"]
    command += [f"--temp-dir={folder}/ray", "--disable-usage-stats", "--include-dashboard=false"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "PATH": path, "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(command, env=environment | fake, cwd=Path.cwd(), stdout=log, stderr=log)
    try:
        end = time.monotonic() + SECONDS
        while "Ray runtime started" not in (folder / "log").read_text():
            assert head.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        kill(head.pid, str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def kill(head: int, folder: str) -> None:
    """End the head and all that it started, and the nodes that its autoscaler started: their folder is in their
    command lines."""
    found = []
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(head).children(recursive=True) + [psutil.Process(head)]
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in process.info["cmdline"] or []):
            found.append(process)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=30)
