"""`interlcm submit`: its output, its exit codes, and addresses without a cluster."""

from __future__ import annotations

import functools
import http.server
import json
import socket
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import typer
from ray.job_submission import JobDetails, JobStatus, JobType

from jobs import submit
from jobs.__main__ import app
from jobs.remote_command import checked
from pipeline.storage import addresses
from pipeline.storage import client as storage_client
from tests.support.ceph import free_port
from tests.support.command import Interlcm


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


class Files(http.server.SimpleHTTPRequestHandler):
    """A server that does not print its requests."""

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
        assert "it is not a Ray dashboard" in interlcm.line()
    server = serve(tmp_path)
    with closing(server.socket):
        address = f"http://127.0.0.1:{server.server_port}"
        assert interlcm("submit", "list", "--address", address) == 1
        assert f"{address}: not a Ray dashboard (HTTP 404 from SimpleHTTP" in interlcm.line()
        (tmp_path / "api").mkdir()
        for text in ("[]", "no JSON"):
            (tmp_path / "api" / "version").write_text(text)
            assert interlcm("submit", "list", "--address", address) == 1
            assert "it is not a Ray dashboard" in interlcm.line()
        server.shutdown()


class Proxy(Files):
    """As one that asks for a name and a password, or sends those without a cookie to log in."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Basic aTphLXNlY3JldA==":
            return super().do_GET()
        self.send_response(302 if self.headers.get("Cookie") else 401)
        self.send_header("Location", "https://login.example/?back=here")
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_a_proxy_before_the_dashboard(tmp_path: Path, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-to-keep")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "version").write_text(json.dumps({"ray_version": "2.60.0"}))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Proxy, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with closing(server.socket):
        for headers, words in (
            ("", "a proxy before the dashboard refuses (HTTP 401 from SimpleHTTP"),
            ('{"Cookie": "a-secret"}', "a proxy before the dashboard sends on to login.example; "),
            ('{"Authorization": "Basic aTphLXNlY3JldA=="}', "only sent to a cluster with token authentication"),
            ("a-secret", "RAY_JOB_HEADERS: not a JSON object"),
        ):
            monkeypatch.setenv("RAY_JOB_HEADERS", headers)
            assert interlcm("submit", "--address", address, "--", "status", "s3://bucket/out") == 1
            assert words in interlcm.line()
            assert "secret" not in interlcm.err
        server.shutdown()
    assert interlcm("submit", "list", "--address", "http://me:a-secret@127.0.0.1:8265") == 1
    assert interlcm.line().startswith("http://127.0.0.1:8265: the address holds credentials")


def test_settings_are_not_sent_where_anyone_may_come_in(
    tmp_path: Path, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster without token authentication answers everybody; only its version is requested."""
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
    from jobs.__main__ import app
    from jobs.remote_command import checked

    assert checked(words.split(), typer.main.get_command(app)) == (words.split(), None)


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


def test_a_query_string_stands_in_no_command_and_goes_along_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_queries", {})
    words = ["restore", "https://host/a.tar?jwt=SECRET", "--output", "s3://b/out", "--weights=https://host/w?k=SECRET2"]
    found, _ = checked(words, typer.main.get_command(app))
    assert found == ["restore", "https://host/a.tar", "--output", "s3://b/out", "--weights=https://host/w"]
    sent = storage_client.environment()
    assert "SECRET2" in sent[addresses.VARIABLE]
    with pytest.raises(typer.BadParameter, match="leave the option out, or copy the source"):
        submit.check_nothing_lost(sent)


def test_a_query_string_in_a_config_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(addresses, "_queries", {})
    (tmp_path / "c.yaml").write_text("weights: https://host/w?k=SECRET\n")
    words = ["restore", "s3://b/a.tar", "--output", "s3://b/out", "--config", str(tmp_path / "c.yaml")]
    with pytest.raises(typer.BadParameter, match="https://host/w: a query string in the file of --config") as caught:
        checked(words, typer.main.get_command(app))
    assert "SECRET" not in str(caught.value)
