"""`interlcm submit` against a real Ray head with token authentication, with sources and OUTPUT on a real S3 server."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.cluster import sealed_settings
from pipeline.cluster.submission import Jobs
from pipeline.index.schema import photo_id
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from tests.support.archives import put, tar_bytes
from tests.support.ceph import ACCESS_KEY, SECRET_KEY, CephGateway
from tests.support.command import Interlcm
from tests.support.pictures import encoded, hopper
from tests.support.ray_head import ROOT, SECONDS, Head, User, job_id, running_head
from tests.support.rows import result_row

pytestmark = pytest.mark.timeout(900)  # far more than needed: most of the time, processes start


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head() as head:
        yield head


@pytest.fixture(scope="module")
def user(head: Head, ceph_gateway: CephGateway) -> Iterator[User]:
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ceph_gateway.environment.items():
            patch.setenv(name, value)
        patch.setenv("RAY_API_SERVER_ADDRESS", head.address)
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token_path))
        bucket = f"s3://test-{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem(endpoint_url=ceph_gateway.endpoint, skip_instance_cache=True).mkdir(bucket)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield User(head, os.environ | {"AWS_PROFILE": "one-that-no-node-has"}, bucket)


@pytest.fixture(scope="module")
def submitted(user: User) -> subprocess.CompletedProcess[str]:
    """A submitted restore that has ended. It indexes one photo, which fails."""
    source, output = put(user.bucket, "in/cut.tar", tar_bytes({"cut.jpg": b""})), f"{user.bucket}/done"
    write_part([result_row("cut.jpg", "failed", photo_id=photo_id(source, "cut.jpg", 0), source=source)], output, "1")
    return user.submit("--", "restore", source, "--output", output, "--strict")


def test_the_exit_code_and_the_log_of_a_job_come_back(submitted: subprocess.CompletedProcess[str]) -> None:
    assert submitted.returncode == 3, submitted.stdout + submitted.stderr  # the command's own code, by --strict
    assert submitted.stderr == ""
    assert "index: 1 archive, 1 member, 1 file" in submitted.stdout
    assert "nothing to do: every selected photo has a result\n" in submitted.stdout
    assert "indexed = restored + no_face + skipped + failed + pending\n" in submitted.stdout
    assert "storage settings sent, encrypted: AWS_ACCESS_KEY_ID, AWS_DEFAULT_REGION" in submitted.stdout
    (kept,) = [line for line in submitted.stdout.splitlines() if line.startswith("not sent to the nodes")]
    assert "AWS_PROFILE" in kept


@pytest.mark.slow
def test_a_restore_on_a_cluster(user: User) -> None:
    photos = {"hopper.jpg": encoded(hopper()), "cut.jpg": encoded(hopper())[:2000]}
    source = put(user.bucket, "in/scans.tar", tar_bytes(photos))
    done = user.submit("--", "restore", source, "--output", f"{user.bucket}/out", "--strict")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "restore: 2/2 files" in done.stdout
    found = counts(f"{user.bucket}/out")
    assert (found.indexed, found.restored, found.failed, found.pending) == (2, 1, 1, 0)


@pytest.mark.slow
def test_a_direct_join_sends_its_settings_or_keeps_them(user: User) -> None:
    """The nodes of this cluster have no settings of their own, so they can read nothing if none are sent."""
    source = put(user.bucket, "in/joined.tar", tar_bytes({"hopper.jpg": encoded(hopper())}))
    environment = os.environ | {"RAY_ADDRESS": f"127.0.0.1:{user.head.join_port}", "RAY_AUTH_MODE": "token"}
    command = [sys.executable, "-m", "jobs", "restore", source, "--output", f"{user.bucket}/joined"]

    def joined(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
        )

    kept = joined("--no-credentials")
    assert kept.returncode == 1, kept.stdout + kept.stderr
    assert f"{source}: the credentials are missing or refused (Unable to locate credentials)" in kept.stderr
    sent = joined()
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert counts(f"{user.bucket}/joined").restored == 1


def urls(user: User, job: str) -> list[str]:
    """The dashboard's answers about jobs, their processes and their environments."""
    kinds = ("jobs", "actors", "tasks", "workers", "nodes", "runtime_envs", "cluster_events", "objects")
    listed = [f"/api/v0/{kind}?detail=1&limit=1000" for kind in kinds]
    pages = ["/api/jobs/", f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/api/component_activities"]
    return [*listed, *pages, "/nodes?view=summary", "/logical/actors", "/api/v0/tasks/summarize", "/api/cluster_status"]


def test_the_secret_is_shown_nowhere(submitted: subprocess.CompletedProcess[str], user: User) -> None:
    """No secret is in the dashboard's answers or the cluster's files; the same search finds the sealed settings."""
    job = job_id(submitted.stdout)
    seen = {"printed": (submitted.stdout + submitted.stderr).encode()}
    for url in urls(user, job):
        request = urllib.request.Request(
            user.head.address + url, headers={"Authorization": f"Bearer {user.head.token}"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            seen[url] = answer.read()
    for path in (user.head.folder / "ray").rglob("*"):
        if path.is_file():
            seen[str(path)] = path.read_bytes()
    assert [name for name, data in seen.items() if SECRET_KEY.encode() in data or ACCESS_KEY.encode() in data] == []
    assert [name for name, data in seen.items() if user.head.token.encode() in data] == []
    sealed_ones = [name for name, data in seen.items() if sealed_settings.VARIABLE.encode() in data]
    assert {"/api/jobs/", f"/api/jobs/{job}"} <= set(sealed_ones)
    assert any("/logs/" in name for name in sealed_ones)


def test_a_job_that_nobody_waits_for(
    submitted: subprocess.CompletedProcess[str], user: User, interlcm: Interlcm
) -> None:
    assert interlcm("submit", "--no-wait", "--", "status", f"{user.bucket}/done") == 0
    job = job_id(interlcm.out)
    assert f"interlcm submit logs {job} --follow" in interlcm.out
    assert (interlcm("submit", "logs", job, "--follow"), interlcm.err) == (0, "")
    assert "indexed = restored + no_face + skipped + failed + pending\n" in interlcm.out
    followed = interlcm.out
    assert interlcm("submit", "logs", job) == 0
    assert interlcm.out == followed

    assert interlcm("submit", "list") == 0
    listed = {line.split()[0]: line for line in interlcm.out.splitlines()}
    assert listed["id"].split() == ["id", "status", "started", "(UTC)", "took", "command"]
    times = r"20\d\d-\d\d-\d\d \d\d:\d\d +0:\d\d:\d\d"
    assert re.fullmatch(rf"{job} +succeeded +{times}  status {user.bucket}/done", listed[job])
    first = job_id(submitted.stdout)
    assert re.fullmatch(rf"{first} +failed +{times}  restore .* --strict", listed[first])
    assert list(listed).index(job) == 1  # the newest first


class Forward:
    """Forwards a port to another, like `ray dashboard`, until it is cut."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                ends = self.listener.accept()[0], socket.create_connection(("127.0.0.1", self.target))
                self.open += ends
                for source, sink in (ends, ends[::-1]):
                    threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # it was cut
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in self.open:
            with suppress(OSError):  # it had ended by itself
                end.shutdown(socket.SHUT_RDWR)


def restore_anew(user: User) -> list[str]:
    source = put(user.bucket, "in/hopper.tar", tar_bytes({"hopper.jpg": encoded(hopper())}))
    return ["--", "restore", source, "--output", f"{user.bucket}/{uuid.uuid4().hex}"]


def read_until(words: str, process: subprocess.Popen[str], terminal: int | None = None) -> str:
    text = ""
    while words not in text:
        assert process.stdout is not None or terminal is not None
        more = os.read(process.stdout.fileno() if terminal is None and process.stdout else terminal or 0, 4096).decode()
        assert more, text
        text += more
    return text


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_and_it_can_be_followed_and_stopped(user: User, interlcm: Interlcm) -> None:
    with user.start(*restore_anew(user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        job = job_id(read_until("Running entrypoint", process))
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 130
    assert (
        f"{job} keeps running. Follow it: interlcm submit logs {job} --follow; stop it: interlcm submit stop {job}"
        in rest
    )

    forward = Forward(user.head.port)
    jobs = Jobs(f"127.0.0.1:{forward.port}")
    assert not jobs.details(job).status.is_terminal()
    pieces: list[str] = []
    for piece in jobs.follow(job):
        if not pieces:
            forward.cut()  # in the middle of the stream
            assert interlcm("submit", "stop", job) == 0
            stopped = interlcm.out
        pieces.append(piece)
    forward.listener.close()
    assert "".join(pieces) == jobs_log(user, job)
    assert stopped == f"{job}: stopped\n"
    assert interlcm("submit", "stop", job) == 0
    assert interlcm.out == f"{job}: stopped before\n"
    assert interlcm("submit", "logs", job, "--follow") == 1
    assert interlcm.line() == f"{job}: stopped; start the same command again to continue"


def jobs_log(user: User, job: str) -> str:
    return Jobs(user.head.address).log(job)


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_asks(user: User) -> None:
    ours, theirs = pty.openpty()
    with user.start(*restore_anew(user), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        job = job_id(read_until("Running entrypoint", process, ours))
        process.send_signal(signal.SIGINT)
        read_until("Stop it, or leave it running? [stop/LEAVE]", process, ours)
        os.write(ours, b"stop\n")
        read_until(f"{job}: stopped", process, ours)
        process.wait(timeout=SECONDS)
    os.close(ours)
    assert process.returncode == 130
    assert Jobs(user.head.address).details(job).status.value == "STOPPED"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "the cluster requires a token, and this machine has none"),
        ("not the token", "the cluster refuses this machine's token"),
    ],
)
@pytest.mark.parametrize("command", ["list", "-- status s3://bucket/out", "stop anything", "logs anything --follow"])
def test_no_way_in_without_the_token(
    command: str, token: str | None, words: str, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    interlcm: Interlcm,
) -> None:  # fmt: skip
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert interlcm("submit", *command.split()) == 1
    assert interlcm.line().startswith(f"{head.address}: {words}; put the token into ~/.ray/auth_token")
    assert "submitted" not in interlcm.out


@pytest.mark.parametrize("command", ["stop", "logs"])
def test_a_job_that_is_not_there(command: str, user: User, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [command, "raysubmit_none", "--address", user.head.address]
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")  # the option wins
    assert interlcm("submit", *words) == 1
    remedy = "list the jobs with interlcm submit list"
    assert interlcm.line() == f"raysubmit_none: no such job at {user.head.address}; {remedy}"
    assert command == "stop" or interlcm("submit", *words, "--follow") == 1
