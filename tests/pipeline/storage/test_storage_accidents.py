"""Accidents of object storage: refusals without a reason, and servers that lack what newer clients expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import fsspec
import pytest
import s3fs

from interlcm.weights_index import empty_index
from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.index.build import listed
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from pipeline.stages.fetch import fetch
from pipeline.storage import client as storage_client
from pipeline.storage.errors import StorageError
from tests.support.archives import PHOTOS, index_sources, tar_bytes
from tests.support.ceph import CephGateway, free_port
from tests.support.fault_proxy import FaultProxy, Rule, no_rest
from tests.support.rows import index_row, result_row, write_index

Proxied = Callable[..., FaultProxy]
JOB = Job(Settings(), "nowhere", "attempt", "", "", environment=Environment({}), weights_index=empty_index())


@pytest.fixture
def proxied(s3: CephGateway, monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> Iterator[Proxied]:
    """Puts a proxy between this process and the S3 server; it goes with the test."""
    no_rest(monkeypatch)
    with ExitStack() as stack:

        def start(rule: Rule | None = None, unknown: str = "") -> FaultProxy:
            proxy = stack.enter_context(FaultProxy(s3.rgw_port, rule=rule, unknown=unknown))
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            s3fs.S3FileSystem.clear_instance_cache()
            return proxy

        yield start


def test_a_head_that_is_refused_says_nothing_of_the_file(bucket: str, proxied: Proxied) -> None:
    for name, data in (("a.bin", b"0123456789"), ("empty.bin", b""), ("folder/b.bin", b"b")):
        storage.write_bytes(f"{bucket}/{name}", data)
    known = [storage.version(f"{bucket}/{name}").split()[1] for name in ("a.bin", "empty.bin")]
    proxied(lambda method, path: "mute" if method == "HEAD" else None)
    assert storage.describe(f"{bucket}/a.bin") == ("file", 10)
    assert storage.describe(f"{bucket}/empty.bin") == ("file", 0)
    assert storage.describe(f"{bucket}/folder") == ("folder", 0)
    assert [storage.version(f"{bucket}/{name}").split()[1] for name in ("a.bin", "empty.bin")] == known
    assert not storage.exists(f"{bucket}/none.bin")


@pytest.mark.parametrize("fault", ["expired", "mute", "denied"])
@pytest.mark.parametrize("source", ["scans.tar", "folder"])
def test_a_token_that_expires_in_the_middle_stops_the_run(
    bucket: str, proxied: Proxied, source: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """58 photos must not be recorded as damaged because the credentials of one hour are over."""
    monkeypatch.setattr("pipeline.storage.client._FIRST_PAUSE", 0.001)
    storage.write_bytes(f"{bucket}/scans.tar", tar_bytes(PHOTOS))
    for name, data in PHOTOS.items():
        storage.write_bytes(f"{bucket}/folder/{name}", data)
    rows = listed([f"{bucket}/{source}"], "", Limits())
    requests = iter(range(100_000))
    proxied(lambda method, path: fault if next(requests) >= 3 else None)
    with pytest.raises(StorageError) as caught:
        list(fetch(rows, JOB))
    assert caught.value.stops_run
    assert ("ExpiredToken" in str(caught.value)) == (fault == "expired")
    assert "\n" not in str(caught.value)


def test_a_server_without_conditional_writes(bucket: str, proxied: Proxied) -> None:
    said: list[str] = []
    proxied(unknown="if-none-match")
    assert storage.create_bytes(f"{bucket}/lock.json", b"one", said.append)
    assert not storage.create_bytes(f"{bucket}/lock.json", b"two", said.append)
    assert len(said) == 1
    assert storage.read_bytes(f"{bucket}/lock.json") == b"one"


def test_a_server_without_checksums(bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION", raising=False)
    proxied(unknown="x-amz-sdk-checksum-algorithm")
    with pytest.raises(StorageError, match="AWS_REQUEST_CHECKSUM_CALCULATION=WHEN_REQUIRED"):
        storage.write_bytes(f"{bucket}/a.bin", b"a")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    s3fs.S3FileSystem.clear_instance_cache()
    storage.write_bytes(f"{bucket}/a.bin", b"a")
    assert storage.read_bytes(f"{bucket}/a.bin") == b"a"


def test_a_public_bucket_without_credentials(
    bucket: str, s3: CephGateway, monkeypatch: pytest.MonkeyPatch, fresh_clients: None
) -> None:
    fs = s3fs.S3FileSystem(endpoint_url=s3.endpoint, skip_instance_cache=True)
    fs.call_s3("put_object", Bucket=bucket[5:], Key="a.bin", Body=b"public", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="FSSPEC_S3_ANON=true"):
        storage.read_bytes(f"{bucket}/a.bin")
    monkeypatch.setattr(fsspec.config, "conf", {})
    monkeypatch.setenv("FSSPEC_S3_ANON", "")
    storage_client.configure({"FSSPEC_S3_ANON": "true"})  # as a worker is told
    assert storage.read_bytes(f"{bucket}/a.bin") == b"public"


def test_the_requester_pays_if_told_so(bucket: str, proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{bucket}/a.bin", b"a")
    proxied(unknown="x-amz-request-payer")
    assert storage.read_bytes(f"{bucket}/a.bin") == b"a"
    monkeypatch.setattr(fsspec.config, "conf", {"s3": {"requester_pays": True}})
    s3fs.S3FileSystem.clear_instance_cache()
    for ask in (storage.read_bytes, storage.describe, lambda uri: list(storage.entries(uri))):
        with pytest.raises(StorageError, match="NotImplemented"):
            ask(f"{bucket}/a.bin")


def test_a_profile_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> None:
    monkeypatch.setenv("AWS_PROFILE", "archive-2019")
    with pytest.raises(StorageError, match="archive-2019") as caught:
        storage.read_bytes("s3://bucket/a.bin")
    assert caught.value.reason == "credentials"


def test_a_password_in_the_address_of_the_server_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, fresh_clients: None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:a-secret@127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("pipeline.storage.client._FIRST_PAUSE", 0.001)
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        storage.read_bytes("s3://bucket/a.bin")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("first", [0, 2, 5])
def test_a_question_to_a_run_ends_in_one_line(bucket: str, proxied: Proxied, first: int) -> None:
    write_index(bucket, [index_row("a.jpg")])
    write_part([result_row("a.jpg")], bucket, "1")
    requests = iter(range(100_000))
    proxied(lambda method, path: "expired" if next(requests) >= first else None)
    with pytest.raises(StorageError):
        counts(bucket)
    with pytest.raises(StorageError):
        index_sources([f"{bucket}/index"], bucket)
