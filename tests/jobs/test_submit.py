"""`interlcm submit` against a real Ray head with token authentication, from a real S3 server to the same."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from jobs import submit
from pipeline import sealed, storage, submission
from pipeline.manifest import counts
from pipeline.submission import Jobs, StreamError, SubmissionError, source_tree
from tests.ceph import ACCESS_KEY, SECRET_KEY, CephGateway, free_port
from tests.jobs.test_main import Interlcm
from tests.pictures import encoded, hopper
from tests.pipeline.archives import put, tar_bytes

ROOT = Path(__file__).parents[2]
SECONDS = 240  # more than a job takes on a busy machine
STORAGE = re.compile("(AWS|GOOGLE|AZURE)_")


@dataclass
class Head:
    """`ray start --head` with a token; its job processes get no storage settings from the environment."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-")))  # its sockets need a short path
    port: int = field(default_factory=free_port)
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
        ports = {"port": free_port(), "ray-client-server-port": free_port(), "dashboard-agent-listen-port": free_port()}
        options = [f"--{name}={port}" for name, port in (ports | {"dashboard-port": self.port}).items()]
        options += ["--dashboard-host=127.0.0.1", "--num-cpus=5", "--object-store-memory=200000000", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--temp-dir={self.folder}/ray"]
        with (self.folder / "head.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--disable-usage-stats", *options],
                env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + SECONDS
        while "Ray runtime started" not in (self.folder / "head.log").read_text():
            assert process.poll() is None and time.monotonic() < end, (self.folder / "head.log").read_text()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    head = Head()
    process = head.start()
    try:
        head.wait(process)
        yield head
    finally:
        process.terminate()  # and with it all that it started
        process.wait(timeout=60)
        shutil.rmtree(head.folder)


@dataclass
class User:
    """Somebody with a shell in which the storage settings and the cluster's token are set."""

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


@pytest.fixture
def interlcm(capsys: pytest.CaptureFixture[str]) -> Interlcm:
    return Interlcm(capsys)


def job_id(text: str) -> str:
    (found,) = re.findall(r"^submitted: (\S+)$", text.replace("\r", ""), re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def restored(user: User) -> subprocess.CompletedProcess[str]:
    """A restore that was submitted and waited for: two photos, of which one is broken."""
    photos = {"hopper.jpg": encoded(hopper()), "cut.jpg": encoded(hopper())[:2000]}
    source = put(user.bucket, "in/scans.tar", tar_bytes(photos))
    return user.submit("--", "restore", source, "--output", f"{user.bucket}/out", "--strict")


@pytest.mark.slow
def test_a_restore_on_a_cluster(restored: subprocess.CompletedProcess[str], user: User) -> None:
    assert restored.returncode == 3, restored.stdout + restored.stderr  # the command's own: --strict, a photo failed
    assert restored.stderr == ""
    assert "restore: 2/2 photos" in restored.stdout
    assert "indexed = restored + no_face + skipped + failed + pending\n" in restored.stdout
    assert "storage settings sent, encrypted: AWS_ACCESS_KEY_ID, AWS_DEFAULT_REGION" in restored.stdout
    assert "not sent, they are about this machine: " in restored.stdout and "AWS_PROFILE" in restored.stdout
    found = counts(f"{user.bucket}/out")
    assert (found.indexed, found.restored, found.failed, found.pending) == (2, 1, 1, 0)


def urls(user: User, job: str) -> list[str]:
    """What the dashboard tells about jobs, their processes and their environments."""
    kinds = ("jobs", "actors", "tasks", "workers", "nodes", "runtime_envs", "cluster_events", "objects")
    listed = [f"/api/v0/{kind}?detail=1&limit=1000" for kind in kinds]
    pages = ["/api/jobs/", f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/api/component_activities"]
    return [*listed, *pages, "/nodes?view=summary", "/logical/actors", "/api/v0/tasks/summarize", "/api/cluster_status"]


@pytest.mark.slow
def test_the_secret_is_shown_nowhere(restored: subprocess.CompletedProcess[str], user: User) -> None:
    """In no answer of the dashboard and in no file of the cluster, where the same search finds the sealed settings."""
    job = job_id(restored.stdout)
    seen = {"printed": (restored.stdout + restored.stderr).encode()}
    for url in urls(user, job):
        request = urllib.request.Request(
            user.head.address + url, headers={"Authorization": f"Bearer {user.head.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            seen[url] = answer.read()
    for path in (user.head.folder / "ray").rglob("*"):
        if path.is_file():
            seen[str(path)] = path.read_bytes()
    assert [name for name, data in seen.items() if SECRET_KEY.encode() in data or ACCESS_KEY.encode() in data] == []
    assert [name for name, data in seen.items() if user.head.token.encode() in data] == []
    sealed_ones = [name for name, data in seen.items() if sealed.VARIABLE.encode() in data]
    assert {"/api/jobs/", f"/api/jobs/{job}"} <= set(sealed_ones)
    assert any("/logs/" in name for name in sealed_ones)


@pytest.mark.slow
def test_a_job_that_nobody_waits_for(
    restored: subprocess.CompletedProcess[str], user: User, interlcm: Interlcm
) -> None:
    assert interlcm("submit", "--no-wait", "--", "status", f"{user.bucket}/out") == 0
    job = job_id(interlcm.out)
    assert f"interlcm submit logs {job} --follow" in interlcm.out
    assert (interlcm("submit", "logs", job, "--follow"), interlcm.err) == (0, "")
    assert "faces restored: 1\n" in interlcm.out
    followed = interlcm.out
    assert interlcm("submit", "logs", job) == 0
    assert interlcm.out == followed

    assert interlcm("submit", "list") == 0
    listed = interlcm.out.splitlines()
    assert listed[0].split() == ["id", "status", "started", "(UTC)", "took", "command"]
    times = r"20\d\d-\d\d-\d\d \d\d:\d\d +0:\d\d:\d\d"
    assert re.fullmatch(rf"{job} +succeeded +{times}  status {user.bucket}/out", listed[1])
    assert re.fullmatch(rf"{job_id(restored.stdout)} +failed +{times}  restore .* --strict", listed[2])
    assert len(listed) == 3


@pytest.mark.parametrize(
    ("status", "code", "message", "ours", "words"),
    [
        ("SUCCEEDED", 0, "", 0, ""),
        ("FAILED", 1, "last available logs ...", 1, ""),
        ("FAILED", 2, "", 2, ""),
        ("FAILED", 3, "", 3, ""),
        ("FAILED", -9, "", 1, "j: ended by signal 9; start the same command again to continue"),
        ("FAILED", None, "runtime_env setup failed:\n why", 1, "j: runtime_env setup failed: why"),
        ("STOPPED", None, "", 1, "j: stopped; start the same command again to continue"),
        ("STOPPED", 143, "", 1, "j: stopped; start the same command again to continue"),
    ],
)
def test_exit_codes(
    status: str, code: int | None, message: str, ours: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = JobDetails(
        type=JobType.SUBMISSION, submission_id="j", status=JobStatus(status), entrypoint="python -m jobs restore",
        driver_exit_code=code, message=message,
    )  # fmt: skip
    assert submit.exit_code(ended) == ours
    assert capsys.readouterr().err == (f"interlcm: {words}\n" if words else "")


class Forward:
    """A port that is forwarded to another one, as `ray dashboard` does, until it is cut."""

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


def restore_again(user: User) -> list[str]:
    return ["--", "restore", f"{user.bucket}/in/scans.tar", "--output", f"{user.bucket}/{uuid.uuid4().hex}"]


def read_until(words: str, process: subprocess.Popen[str], terminal: int | None = None) -> str:
    text = ""
    while words not in text:
        assert process.stdout is not None or terminal is not None
        more = os.read(process.stdout.fileno() if terminal is None and process.stdout else terminal or 0, 4096).decode()
        assert more, text
        text += more
    return text


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_and_it_can_be_followed_and_stopped(
    restored: subprocess.CompletedProcess[str], user: User, interlcm: Interlcm
) -> None:
    with user.start(*restore_again(user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        job = job_id(read_until("Running entrypoint", process))
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 130
    assert f"{job} goes on. Follow it: interlcm submit logs {job} --follow; stop it: interlcm submit stop {job}" in rest

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
def test_ctrl_c_on_a_terminal_asks(restored: subprocess.CompletedProcess[str], user: User) -> None:
    ours, theirs = pty.openpty()
    with user.start(*restore_again(user), stdin=theirs, stdout=theirs, stderr=theirs) as process:
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
        (None, "the cluster asks for its token, and there is none here"),
        ("not the token", "the cluster refuses the token that is here"),
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
    assert interlcm.line().startswith(f"{head.address}: {words}; put it into ~/.ray/auth_token")
    assert "submitted" not in interlcm.out


@pytest.mark.parametrize("command", ["stop", "logs"])
@pytest.mark.slow
def test_a_job_that_is_not_there(command: str, user: User, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [command, "raysubmit_none", "--address", user.head.address]
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")  # the option wins
    assert interlcm("submit", *words) == 1
    assert interlcm.line() == (f"raysubmit_none: no such job at {user.head.address}; interlcm submit list names them")
    assert command == "stop" or interlcm("submit", *words, "--follow") == 1


class Files(http.server.SimpleHTTPRequestHandler):
    """What it is asked for is not printed."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    handler = functools.partial(Files, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_what_is_no_cluster(tmp_path: Path, interlcm: Interlcm) -> None:
    nothing = f"http://127.0.0.1:{free_port()}"
    assert interlcm("submit", "list", "--address", nothing) == 1
    assert interlcm.line().startswith(f"{nothing}: no Ray dashboard answers (Connection refused); start the cluster")
    assert interlcm("submit", "list", "--address", "ray://127.0.0.1:10001") == 1
    assert "give --address http://HOST:8265" in interlcm.line()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"hello\n"), daemon=True).start()
        assert interlcm("submit", "list", "--address", f"http://127.0.0.1:{listener.getsockname()[1]}") == 1
        assert "no Ray dashboard, but something else" in interlcm.line()
    server = serve(tmp_path)
    with closing(server.socket):
        address = f"http://127.0.0.1:{server.server_port}"
        assert interlcm("submit", "list", "--address", address) == 1
        assert f"{address}: no Ray dashboard, but HTTP 404" in interlcm.line()
        (tmp_path / "api").mkdir()
        for text in ("[]", "no JSON"):
            (tmp_path / "api" / "version").write_text(text)
            assert interlcm("submit", "list", "--address", address) == 1
            assert "no Ray dashboard, but something else" in interlcm.line()
        server.shutdown()


def test_settings_are_not_sent_where_anyone_may_come_in(
    tmp_path: Path, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster without token authentication answers everybody; more of it than its version is not asked for."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-to-keep")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "version").write_text(json.dumps({"ray_version": "2.60.0"}))
    server = serve(tmp_path)
    with closing(server.socket):
        address = f"http://127.0.0.1:{server.server_port}"
        assert interlcm("submit", "--address", address, "--", "status", "s3://bucket/out") == 1
        assert "only sent to a cluster with token authentication" in interlcm.line()
        assert "give --no-credentials" in interlcm.line()
        assert interlcm.out == ""
        assert "a-secret-to-keep" not in interlcm.err
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("restore s3://a/b --output s3://a/c", "put -- before the command: interlcm submit -- restore"),
        ("-- restore s3://a/b", "--output"),
        ("-- restore s3://a/b --output s3://a/c --no-such-option", "--no-such-option"),
        ("-- frobnicate s3://a/b", "frobnicate"),
        ("-- restore scans.tar --output s3://a/c", "scans.tar: a plain path would be on a disk of the cluster"),
        ("-- restore s3://a/b /mnt/scans --output s3://a/c", "/mnt/scans: a plain path"),
        ("-- restore s3://a/b --output restored", "restored: a plain path"),
        ("-- restore s3://a/b --output s3://a/c --weights weights", "weights: a plain path"),
        ("-- status restored", "restored: a plain path"),
        ("-- demo", "--output demo: a file on the cluster's head node; give its absolute path there"),
        ("--", "Missing argument"),
        ("--frobnicate -- status s3://a/b", "--frobnicate"),
        ("logs", "Missing argument 'ID'"),
    ],
)
def test_wrong_usage_shows_before_anything_is_sent(
    words: str, message: str, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{free_port()}")
    assert interlcm("submit", *words.split()) == 2
    assert message in interlcm.line()


@pytest.mark.parametrize(
    "words",
    [
        "restore s3://a/b --output s3://a/c",
        "restore file:///mnt/scans --output file:///mnt/restored --weights file:///mnt/weights",
        "query s3://a/c SELECT",
    ],
)
def test_places_that_every_node_has(words: str) -> None:
    from jobs.remote_command import checked

    assert checked(words.split()) == (words.split(), None)


def test_a_secret_in_a_uri_stays_here(interlcm: Interlcm) -> None:
    assert interlcm("submit", "--", "index", "https://me:hidden@example.org/a.tar", "--output", "s3://a/c") == 1
    assert "the URI holds credentials" in interlcm.line()
    assert "hidden" not in interlcm.err + interlcm.out


def test_help_has_the_short_form(interlcm: Interlcm) -> None:
    for command in submit.app.registered_commands:
        assert interlcm("submit", command.name or command.callback.__name__, "--help") == 0  # type: ignore[union-attr]
        assert "interlcm submit " in interlcm.out.partition("Example")[2]


def test_a_log_has_whole_lines_and_a_terminal_one_line_of_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = ["index: 2 archives\nrestore: 0/4 pho", "tos\nrestore: 2/4 photos\n", "restore: 4/4 photos\nindexed = "]
    submit.show(iter([*pieces, "4\n"]))
    assert capsys.readouterr().out == "".join([*pieces, "4\n"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    submit.show(iter([*pieces, "4\n"]))
    lines = [line.split("\r\x1b[K") for line in capsys.readouterr().out.split("\n")]
    assert lines == [
        ["index: 2 archives"],
        ["restore: 0/4 photos", "restore: 2/4 photos", "restore: 4/4 photos"],
        ["indexed = 4"],
        [""],
    ]


def test_a_stream_that_breaks_off_is_taken_up_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([["ab", "cd"], [], ["a"], ["abcde", "f"], ["abcdef", "g"]])

    def stream(self: Jobs, job_id: str) -> Iterator[str]:
        text = next(tries)
        yield from text
        if text != ["abcdef", "g"]:
            raise StreamError("cut")

    monkeypatch.setattr(Jobs, "_stream", stream)
    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    jobs = object.__new__(Jobs)
    jobs.address = "http://127.0.0.1:8265"
    assert list(jobs.follow("raysubmit_1")) == ["ab", "cd", "e", "f", "g"]
    tries = iter([["abcdef"], []])
    monkeypatch.setattr(submission, "LOST_SECONDS", -1.0)
    with pytest.raises(SubmissionError, match="is lost .cut., not the job; interlcm submit logs raysubmit_1 --follow"):
        list(jobs.follow("raysubmit_1"))


def test_the_package_of_a_job(tmp_path: Path) -> None:
    """This project's packages with their data, which run by themselves and know their version."""
    from importlib.metadata import version

    with source_tree() as folder:
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        code = "import jobs.__main__, interlcm; from importlib.metadata import distribution as d; "
        code += (
            "print(jobs.__file__, interlcm.__file__, d('interlcm').locate_file('').resolve(), d('interlcm').version)"
        )
        run = [sys.executable, "-c", code]
        printed = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
        here = str(folder)
    assert printed == [f"{here}/jobs/__init__.py", f"{here}/interlcm/__init__.py", here, version("interlcm")]
    assert {path.parts[0] for path in files} == {
        "interlcm", "pipeline", "jobs", f"interlcm-{version('interlcm')}.dist-info",
    }  # fmt: skip
    assert Path("interlcm/demo_weights/model_index.json") in files
    assert Path("jobs/presets/demo.yaml") in files
    assert not [path for path in files if "__pycache__" in path.parts]
    assert not folder.exists()


def test_a_seal_opens_with_its_token_only() -> None:
    settings = {"AWS_SECRET_ACCESS_KEY": "a-secret-to-keep", "AWS_ENDPOINT_URL": "https://s3.example.org/ü"}
    text = sealed.seal(settings, "token")
    assert sealed.unseal(text, "token") == settings
    assert text != sealed.seal(settings, "token")  # the same settings of two jobs do not show as the same
    assert re.fullmatch(r"[\w.=-]+", text)  # nothing that a shell or Ray would expand
    salt, _, body = text.partition(".")
    for other, token in [(text, "other"), (text, ""), (f"{salt}.{body[:-8]}AAAA{body[-4:]}", "token"), ("x", "token")]:
        with pytest.raises(sealed.SealError, match="sealed with another token"):
            sealed.unseal(other, token)


def test_settings_about_this_machine_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(storage.environment()):
        monkeypatch.delenv(name)
    local = ["AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_DISABLED",
             "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
             "GOOGLE_APPLICATION_CREDENTIALS"]  # fmt: skip
    sent = ["AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN"]  # fmt: skip
    for name in [*local, *sent]:
        monkeypatch.setenv(name, "value")
    assert sealed.settings() == (dict.fromkeys(sent, "value"), local)


def test_the_token_is_looked_for_where_ray_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sealed.token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from home\n")
    assert sealed.token() == "from home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(sealed.SealError, match=r"RAY_AUTH_TOKEN_PATH=.*token: no such file; name the file with"):
        sealed.token()
    (tmp_path / "token").write_text("from a file")
    assert sealed.token() == "from a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from the environment")
    assert sealed.token() == "from the environment"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert sealed.token() == ""
