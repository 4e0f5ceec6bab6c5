"""Storage faults: a proxy (tests/support/fault_proxy.py) before a real S3 server, and full local disks."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import s3fs
from botocore.retries.standard import ExponentialBackoff

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.config.limits import Limits
from pipeline.manifest import counts
from pipeline.manifest import write as manifest_write
from pipeline.storage import cache, client, local_disk, pages, traffic
from pipeline.storage.errors import StorageError
from tests.support.archives import put, tar_bytes
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy, Rule, mounted, no_rest
from tests.support.rows import index_row, result_row, write_index

LIMITS = Limits()
DATA = random.Random(1).randbytes(100_000)

Proxied = Callable[..., FaultProxy]


@pytest.fixture
def proxied(s3: CephGateway, monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> Iterator[Proxied]:
    """Puts a proxy between this process and the S3 server, for this test; both layers repeat requests at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.001)
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.001)
    no_rest(monkeypatch)
    with ExitStack() as stack:

        def start(rule: Rule | None = None, **rates: float) -> FaultProxy:
            proxy = stack.enter_context(FaultProxy(s3.rgw_port, rates, seed=7, rule=rule))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            s3fs.S3FileSystem.clear_instance_cache()
            return proxy

        yield start


@pytest.mark.parametrize("fault", ["slow_down", "internal_error", "reset", "lost", "cut", "half", "short"])
def test_a_fault_in_every_fourth_request_goes_unnoticed(bucket: str, proxied: Proxied, fault: str) -> None:
    proxy, before = proxied(**{fault: 0.25}), traffic.retries.count
    for n in range(3):
        uri = f"{bucket}/a/{n}.bin"
        storage.write_bytes(uri, DATA)
        assert storage.read_bytes(uri) == DATA
        assert storage.read_bytes(uri, 70_000) == DATA[70_000:]
        assert storage.read_bytes(uri, 10, 20_000) == DATA[10:20_000]
        assert storage.read_bytes(uri, 99_990, 200_000) == DATA[99_990:]
        assert storage.describe(uri) == ("file", len(DATA))
        assert storage.list_files(f"{bucket}/a") == [(f"{k}.bin", len(DATA)) for k in range(n + 1)]
        with storage.open_stream(uri) as file:
            assert b"".join(iter(lambda: file.read(30_000), b"")) == DATA
    assert proxy.counts[fault] >= 3
    if fault == "slow_down":  # each one is counted, those that the client itself repeats too
        assert traffic.retries.count - before == proxy.counts[fault] and traffic.retries.throttled_ago is not None


ASKS = 12  # requests in a row: more than a server that cannot be reached gets


def test_a_server_that_asks_for_slower_requests_is_waited_for(
    bucket: str, proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is asked of it, and for as long as it asks."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(traffic, "retries", traffic.Retries())
    (tmp_path / "a.bin").write_bytes(DATA)
    uri, other, left = f"{bucket}/a/1.bin", f"{bucket}/a/2.bin", [0]

    def rule(method: str, path: str) -> str | None:
        left[0] -= 1
        return "slow_down" if left[0] >= 0 else None

    proxy = proxied(rule=rule)
    calls: list[tuple[Callable[[], object], object]] = [
        (lambda: storage.write_bytes(uri, DATA), None),
        (lambda: storage.read_bytes(uri, 10, 20_000), DATA[10:20_000]),
        (lambda: storage.describe(uri), ("file", len(DATA))),
        (lambda: storage.exists(other), False),
        (lambda: storage.create_bytes(other, b"lease"), True),
        (lambda: storage.put_file(f"{bucket}/a/3.bin", tmp_path / "a.bin"), None),
        (lambda: storage.move(other, f"{bucket}/b/2.bin"), True),
        (lambda: storage.list_files(f"{bucket}/a"), [("1.bin", len(DATA)), ("3.bin", len(DATA))]),
        (lambda: storage.remove(f"{bucket}/a/3.bin"), None),
        (lambda: storage.remove_all(f"{bucket}/a", ["1.bin"]), None),
    ]
    for call, answer in calls:
        left[0] = ASKS
        assert call() == answer
    assert storage.list_files(bucket) == [("b/2.bin", 5)]
    assert proxy.counts["slow_down"] == traffic.retries.count == ASKS * len(calls)
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [f"storage: trying again: {uri}: the server asks for slower requests (SlowDown)"]  # one a minute


def test_a_key_that_is_refused_among_others_is_deleted_later(
    bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may do a part of a long list, and ask for slower requests in a good answer."""
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.002)
    names = [f"{n}.bin" for n in range(4)]
    for name in names:
        storage.write_bytes(f"{bucket}/a/{name}", b"x")
    times = [0]

    def rule(method: str, path: str) -> str | None:
        times[0] += method == "POST"
        return "busy" if method == "POST" and times[0] <= 7 else None

    proxy = proxied(rule=rule)
    storage.remove_all(f"{bucket}/a", names)
    assert storage.list_files(bucket) == [] and proxy.counts["busy"] == 7


def test_pages_are_written_together_and_the_last_one_last(bucket: str, proxied: Proxied) -> None:
    files = {f"tiles/{n}_0.jpg": DATA[n:] for n in range(40)} | {"tiles.js": b"all there"}
    puts: list[str] = []

    def rule(method: str, path: str) -> str | None:
        if method != "PUT":
            return None
        puts.append(path)
        return "reset" if len(puts) == 5 else "slow"

    proxy = proxied(rule=rule)
    proxy.seconds = 0.1
    storage.publish_all(f"{bucket}/a", files)
    assert 2 <= proxy.busiest <= pages.AT_ONCE
    assert len(puts) == len(files) + 1 and puts[-1].partition("?")[0].endswith("/a/tiles.js")
    assert {name: storage.read_bytes(f"{bucket}/a/{name}") for name, _ in storage.list_files(f"{bucket}/a")} == files


def test_a_page_that_is_refused_is_named_and_the_last_one_is_not_written(bucket: str, proxied: Proxied) -> None:
    proxied(rule=lambda method, path: "denied" if method == "PUT" and "/7.jpg" in path else None)
    with pytest.raises(StorageError, match=f"{bucket}/a/7.jpg: access denied") as caught:
        storage.publish_all(f"{bucket}/a", {f"{n}.jpg": b"x" for n in range(9)} | {"tiles.js": b"all there"})
    assert caught.value.stops_run
    assert "tiles.js" not in dict(storage.list_files(f"{bucket}/a"))


def test_an_archive_is_read_through_storms(bucket: str, proxied: Proxied) -> None:
    members = {f"{n}.bin": DATA[n * 1000 :] for n in range(20)}
    plain, packed = put(bucket, "a.tar", tar_bytes(members)), put(bucket, "a.tar.gz", tar_bytes(members, "w:gz"))
    proxy = proxied(slow_down=0.1, reset=0.05, cut=0.1, half=0.05, short=0.1)
    for uri, format in ((plain, "tar"), (packed, "tar.gz")):
        listed = list(archives.list_members(uri, format, LIMITS))
        read = {member.path: data for member, data in archives.read_members(uri, format, listed, LIMITS)}
        assert read == members
    assert len(proxy.counts) == 6


def test_a_key_that_always_fails_does_not_stop_the_run(
    bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxy = proxied(rule=lambda method, path: "internal_error" if "bad.bin" in path else None)
    storage.write_bytes(f"{bucket}/good.bin", DATA)
    for call in (lambda uri: storage.write_bytes(uri, DATA), storage.read_bytes):
        with pytest.raises(
            StorageError, match=r"bad.bin: the server fails \(.*\).*its other files can be reached"
        ) as caught:
            call(f"{bucket}/bad.bin")
        assert not caught.value.stops_run
        assert "\n" not in str(caught.value)
    assert proxy.counts["internal_error"] >= 6
    assert storage.read_bytes(f"{bucket}/good.bin") == DATA


def test_a_file_that_is_always_short_is_never_whole(
    bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{bucket}/a.bin", DATA)
    proxied(rule=lambda method, path: "short" if method == "GET" and "a.bin" in path else None)
    with pytest.raises(StorageError, match="99999 bytes came instead of 100000"):
        storage.read_bytes(f"{bucket}/a.bin")
    with pytest.raises(StorageError, match="9 bytes came instead of 10"):
        storage.read_bytes(f"{bucket}/a.bin", 10, 20)


def test_a_server_that_is_gone_stops_the_run(bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxied(rule=lambda method, path: "internal_error")
    with pytest.raises(StorageError, match="the server fails") as caught:
        storage.read_bytes(f"{bucket}/a.bin")
    assert caught.value.stops_run


def test_what_is_refused_or_missing_is_asked_for_once(bucket: str, proxied: Proxied) -> None:
    proxy = proxied()
    with pytest.raises(StorageError, match="no such file"):
        storage.read_bytes(f"{bucket}/none.bin", 0, 10)
    assert proxy.counts["passed"] <= 3  # GET, and the bucket


def test_weights_that_come_short_are_copied_again(
    bucket: str, proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for n in range(8):
        storage.write_bytes(f"{bucket}/weights/{n}.bin", DATA[n:])
    proxy = proxied(short=0.2, cut=0.2)
    copy = cache.local_folder(f"{bucket}/weights")
    assert [(copy / f"{n}.bin").read_bytes() for n in range(8)] == [DATA[n:] for n in range(8)]
    assert proxy.counts["short"] and proxy.counts["cut"]


def test_only_the_first_creates(bucket: str, tmp_path: Path) -> None:
    for folder in (bucket, str(tmp_path), f"memory://{tmp_path.name}"):
        uri = storage.join(folder, "sub/lock.json")
        assert [storage.create_bytes(uri, b"one"), storage.create_bytes(uri, b"two")] == [True, False]
        assert storage.read_bytes(uri) == b"one"
        storage.remove(uri)
        storage.remove(uri)
        assert storage.create_bytes(uri, b"three")


def test_a_full_disk_keeps_the_old_file_and_nothing_half(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        uri = str(disk / "restored" / "a.jpg")
        storage.write_bytes(uri, DATA)
        for target in (uri, str(disk / "index" / "a.parquet"), str(disk / "run.json")):
            with pytest.raises(StorageError, match="no space left; make room") as caught:
                storage.write_bytes(target, DATA * 3)
            assert caught.value.stops_run
        assert storage.read_bytes(uri) == DATA
        rows = [result_row(f"{n}.jpg", "failed", error=random.Random(n).randbytes(90_000).hex()) for n in range(3)]
        with pytest.raises(StorageError, match="no space left"):
            manifest_write.write_part(rows, str(disk), "1")
        assert [path for path in disk.rglob("*") if path.is_file()] == [Path(uri)]


def test_a_read_only_disk_is_one_line(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        write_index(str(disk), [index_row("a.jpg")])
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StorageError, match="read-only; remount it") as caught:
            manifest_write.write_part([result_row("a.jpg", "failed")], str(disk), "1")
        assert caught.value.stops_run
        assert counts.counts(str(disk)).pending == 1


WRITE = """
import resource, signal, sys
from pipeline import storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    storage.write_bytes(sys.argv[1], bytes(100_000))
except storage.StorageError as error:
    sys.exit(f"{error.reason}: {error}")
"""


def test_a_limit_on_file_sizes_leaves_nothing_half(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a.bin")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 1
    assert (
        done.stderr
        == f"full: {tmp_path}/a.bin: larger than a file may be here; make room, then start the same command again\n"
    )
    assert os.listdir(tmp_path) == []


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old, new = tmp_path / "restored" / f".{'a' * 32}.part", tmp_path / "restored" / f".{'b' * 32}.part"
    others = [tmp_path / "restored" / "b.part", tmp_path / ".c.part", tmp_path / "restored" / ".d.part.jpg"]
    for path in (old, new, *others):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    for path in (old, *others):
        os.utime(path, (1000, 1000))
    os.utime(new, (3000, 3000))
    assert local_disk.remove_temporaries(str(tmp_path), before=2000) == 1
    assert not old.exists()
    assert all(path.exists() for path in (new, *others))


def test_sql_reads_a_run_through_storms(bucket: str, proxied: Proxied) -> None:
    names = [f"{n}.jpg" for n in range(30)]
    write_index(f"{bucket}/run", [index_row(name) for name in names])
    for n in range(0, 30, 3):
        manifest_write.write_part([result_row(name, "no_face") for name in names[n : n + 3]], f"{bucket}/run", "1")
    proxy = proxied(slow_down=0.05, reset=0.05, cut=0.05, half=0.05, short=0.05)
    found = counts.counts(f"{bucket}/run")
    assert (found.indexed, found.no_face, found.pending) == (30, 30, 0)
    assert len(proxy.counts) > 3
