"""A real Ray head with token authentication, and a user who submits jobs to it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ceph import free_port

ROOT = Path(__file__).parents[2]
SECONDS = 400  # more than a job takes on a busy machine
STORAGE = re.compile("(AWS|GOOGLE|AZURE)_")


@dataclass
class Head:
    """`ray start --head` with a token; its job processes get no storage settings from the environment."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-")))  # its sockets need a short path
    port: int = field(default_factory=free_port)  # of the dashboard
    join_port: int = field(default_factory=free_port)  # for RAY_ADDRESS
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_path(self) -> Path:
        return self.folder / "token"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not STORAGE.match(name)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return kept | {
            "HOME": str(self.folder),
            "PATH": path,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # no 30 s at the end of the tests
        }

    def start(self) -> subprocess.Popen[bytes]:
        self.token_path.touch(0o600)
        self.token_path.write_text(self.token)
        ports = {
            "port": self.join_port,
            "ray-client-server-port": free_port(),
            "dashboard-agent-listen-port": free_port(),
        }
        options = [f"--{name}={port}" for name, port in (ports | {"dashboard-port": self.port}).items()]
        options += ["--dashboard-host=127.0.0.1", "--num-cpus=5", "--object-store-memory=200000000", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--temp-dir={self.folder}/ray"]
        with (self.folder / "head.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--disable-usage-stats", *options],
                env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        """Start the head; False if Ray gave up: it allows a node 30 s, too little on a busy machine."""
        while "Ray runtime started" not in self.log():
            if process.poll() is not None:
                return False
            time.sleep(0.1)
        return True

    def log(self) -> str:
        return (self.folder / "head.log").read_text()


@contextmanager
def running_head() -> Iterator[Head]:
    head = Head()
    started = [head.start()]
    try:
        while not head.comes_up(started[-1]):
            assert len(started) < 8, head.log()
            started.append(head.start())
        yield head
    finally:
        started[-1].terminate()  # and with it all that it started
        started[-1].wait(timeout=400)
        shutil.rmtree(head.folder)


@dataclass
class User:
    """A user whose shell has the storage settings and the cluster's token."""

    head: Head
    environment: dict[str, str]
    bucket: str

    def start(self, *words: str, **streams: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobs", "submit", *words]
        return subprocess.Popen(command, env=self.environment, cwd=ROOT, text=True, **streams)  # type: ignore[call-overload]

    def submit(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=SECONDS)
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def job_id(text: str) -> str:
    (found,) = re.findall(r"^submitted: (\S+)$", text.replace("\r", ""), re.MULTILINE)
    return str(found)
