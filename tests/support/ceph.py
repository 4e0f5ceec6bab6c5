"""A real S3 server for the tests: a one-node Ceph cluster with its object gateway, on loopback and free ports.

Needs Debian's ceph-mon, ceph-osd, ceph-common and radosgw; ready in about 4 s. Objects are kept in memory, or on disk
for benchmarks. No manager runs: it would only collect statistics.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "setpriv")
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
SECONDS = 300  # for each step of the start, which takes one or two: more than on a busy machine

# One copy of everything, no authentication inside the cluster, message protocol v1 on loopback only. Without an
# admin socket per daemon no path is too long for one. The monitor decides at once: by default it waits for a second
# before each change of the cluster's map, for more changes, and a start has about fifteen.
CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{mon_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
osd_objectstore = {store}
memstore_device_bytes = {most_bytes}
bluestore_block_size = {most_bytes}
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{rgw_port} tcp_nodelay=1
run_dir = {folder}
admin_socket =
log_file = {folder}/$name.log
"""


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass
class CephGateway:
    """`with CephGateway() as s3:` starts the cluster; leaving the block stops its processes and deletes its files."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ceph-")))
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    mon_port: int = field(default_factory=lambda: free_port())
    rgw_port: int = field(default_factory=lambda: free_port())
    store: str = "memstore"  # or "bluestore", on disk

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.rgw_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables with which a client reaches the gateway."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir()
        configuration = CONFIGURATION.format(
            fsid=fsid,
            folder=self.folder,
            mon_port=self.mon_port,
            rgw_port=self.rgw_port,
            store=self.store,
            most_bytes=16 << 30,
        )
        (self.folder / "ceph.conf").write_text(configuration)
        monmap = str(self.folder / "monmap")
        self._call("monmaptool", "--create", "--addv", "a", f"v1:127.0.0.1:{self.mon_port}", "--fsid", fsid, monmap)
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._start_daemon("ceph-mon", ["-i", "a"], lambda: bool(self._call("ceph", "fsid")))
        self._call("ceph", "osd", "new", osd)
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._start_daemon("ceph-osd", ["-i", "0"], lambda: "1 up" in self._call("ceph", "osd", "stat"))
        self._start_daemon("radosgw", ["-n", "client.rgw"], self._answers)
        self._call("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
                   f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")  # fmt: skip

    def _call(self, *command: str) -> str:
        """Run one Ceph tool to its end; `subprocess.CalledProcessError` or `TimeoutExpired` when it fails.

        Up to three times: a client can issue its first command before it has the monitor's map, with cluster id 0,
        and is refused ("wrong fsid"). Daemons meet the same race and end; `_start_daemon` starts them again.
        """
        for last in (False, False, True):
            with (self.folder / "tools.log").open("ab") as log:
                done = subprocess.run(command, env=self._tool_environment(), stdout=subprocess.PIPE, stderr=log,
                                      stdin=subprocess.DEVNULL, timeout=SECONDS, check=last)  # fmt: skip
            if done.returncode == 0:
                break
            time.sleep(0.5)
        return done.stdout.decode()

    def _daemon(self, program: str, *arguments: str) -> None:
        # The kernel ends the daemon with the process that started it, so that a killed test run leaves none behind.
        command = ["setpriv", "--pdeathsig", "TERM", program, *arguments, "-f"]
        with (self.folder / f"{program}.out").open("ab") as log:
            self.daemons[program] = subprocess.Popen(
                command, env=self._tool_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _start_daemon(self, program: str, arguments: list[str], ready: Callable[[], bool]) -> None:
        """Start a daemon and wait until it is ready; `TimeoutError` with the ends of the logs when it is not."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if program not in self.daemons or self.daemons[program].poll() is not None:
                self._daemon(program, *arguments)
            try:
                if ready():
                    return
            except (subprocess.SubprocessError, OSError):
                pass  # not ready yet: wait, up to the time limit
            time.sleep(0.1)
        raise TimeoutError(f"{program} was not ready after {SECONDS} s{self._tail()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.rgw_port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def _tail(self) -> str:
        logs = sorted([*self.folder.glob("*.out"), self.folder / "tools.log"])
        return "".join(f"\n{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs if log.exists())

    def _tool_environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")}

    def stop(self) -> None:
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
        self.daemons.clear()
        shutil.rmtree(self.folder)


def free_port() -> int:
    """A free port of 127.0.0.1, from the kernel's own range (32768 up, above Ray's)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Run a command with its environment set to a new gateway with the bucket s3://bench."""
    import s3fs

    with CephGateway(store="bluestore") as gateway:
        environment = {**os.environ, **gateway.environment}
        os.environ.update(gateway.environment)
        s3fs.S3FileSystem(endpoint_url=gateway.endpoint).mkdir("s3://bench")
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


if __name__ == "__main__":
    main()
