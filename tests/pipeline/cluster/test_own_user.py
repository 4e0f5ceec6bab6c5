"""A cluster on this machine is its user's alone: token, folder and addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.cluster import own_user
from pipeline.cluster.own_user import OwnError

# A second account that has Ray: it tries the token's file, Ray's folder, and the cluster itself without the token.
STRANGER = """
import os, sys
from ray._raylet import GcsClient
os.setgroups([]); os.setgid(65534); os.setuid(65534)
address, token, folder = sys.argv[1:]
for name, use in (("token", lambda: open(token)), ("folder", lambda: os.listdir(folder)),
                  ("cluster", lambda: GcsClient(address=address).internal_kv_keys(b"", b"session", timeout=20))):
    try:
        use()
        print(name, "open")
    except Exception as error:
        print(name, type(error).__name__)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_token_is_its_users_alone(home: Path) -> None:
    before = os.umask(0)
    try:
        own_user.keep_token()
    finally:
        os.umask(before)
    file = home / ".ray/auth_token"
    assert mode(file) == 0o600 and mode(file.parent) == 0o700
    token = file.read_text()
    assert len(token) == 64 and list(file.parent.iterdir()) == [file]
    own_user.make_token(file)  # as a run that starts in the same moment
    assert file.read_text() == token


def test_a_token_that_others_can_read_is_mended_and_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / ".ray/auth_token"
    file.parent.mkdir()
    file.parent.chmod(0o777)
    file.write_text("token")
    file.chmod(0o644)
    own_user.keep_token()
    assert mode(file) == 0o600 and file.read_text() == "token" and mode(file.parent) == 0o755
    said = capsys.readouterr().err
    assert f"{file}: others could read it" in said and f"{file.parent}: others could put a token" in said
    own_user.keep_token()
    assert capsys.readouterr().err == ""


def test_what_cannot_hold_a_token_is_one_line(home: Path) -> None:
    (home / ".ray/auth_token").mkdir(parents=True)
    with pytest.raises(OwnError, match=r"Is a directory.; name another place in RAY_AUTH_TOKEN_PATH"):
        own_user.keep_token()
    (home / ".ray/auth_token").rmdir()
    (home / ".ray/auth_token").symlink_to(home / "gone")
    with pytest.raises(OwnError, match="cannot be kept there"):
        own_user.keep_token()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_token_that_somebody_else_put_there_is_refused(home: Path) -> None:
    file = home / ".ray/auth_token"
    file.parent.mkdir()
    file.write_text("known to them")
    os.chown(file, 65534, 65534)
    with pytest.raises(OwnError, match="belongs to another account; remove it"):
        own_user.keep_token()


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "token")])
def test_where_the_user_says_otherwise_no_token_is_made(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    own_user.keep_token()
    assert not list(home.iterdir())


def test_rays_folder_is_closed_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_user, "LONGEST_SOCKET", 70 + len(str(tmp_path)) + 40)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    above = tmp_path / f"interlcm-{os.getuid()}"
    above.mkdir(mode=0o755)
    assert own_user.folder().parent == above and mode(above) == 0o700
    above.rmdir()
    above.symlink_to(tmp_path)
    with pytest.raises(OwnError, match="not a folder of yours; remove it, or set RAY_TMPDIR"):
        own_user.folder()
    monkeypatch.setattr(own_user, "LONGEST_SOCKET", 107)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'d' * 60}")
    with pytest.raises(OwnError, match="too long for the paths of sockets"):
        own_user.folder()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(own_user, "gettempdir", lambda: f"/tmp/{'d' * 60}")
    assert own_user.folder() == Path(f"/tmp/interlcm-{os.getuid()}/ray")


@pytest.mark.usefixtures("ray_cluster")
def test_a_local_cluster_listens_on_loopback_alone() -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        one.laddr.ip for process in processes for one in process.net_connections("inet") if one.status == "LISTEN"
    ]
    assert len(listening) > 5
    # Of this process, a server of another test may be among them, such as chromedriver's, on ::1.
    assert {address.removeprefix("::ffff:") for address in listening} - {"::1"} == {"127.0.0.1"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another account")
@pytest.mark.usefixtures("ray_cluster")
def test_a_second_account_neither_reads_the_token_nor_joins() -> None:
    import ray

    file, address = own_user.token_file(), ray.get_runtime_context().gcs_address

    def stranger(**variables: str) -> list[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        arguments = [address, str(file), str(own_user.folder())]
        command = [sys.executable, "-c", STRANGER, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        return done.stdout.splitlines()

    closed = ["token PermissionError", "folder PermissionError", "cluster AuthenticationError"]
    assert stranger(RAY_AUTH_MODE="disabled") == stranger(RAY_AUTH_TOKEN="a guess", RAY_AUTH_MODE="token") == closed
    # It is the token that keeps the account out: with it, it would be in.
    assert stranger(RAY_AUTH_TOKEN=file.read_text(), RAY_AUTH_MODE="token") == [*closed[:2], "cluster open"]
