"""Storage on a local disk and on fsspec's memory:// file system."""

import os
import pickle
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.storage import addresses
from pipeline.storage import client as storage_client
from pipeline.storage.cache import local_folder
from pipeline.storage.errors import StorageError, storage_errors


@pytest.fixture(params=["local", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"local": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}"}[request.param]


def test_write_then_read_whole_and_in_ranges(folder: str) -> None:
    uri = storage.join(folder, "a", "b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"old and longer")
    storage.write_bytes(uri, b"0123456789")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"0123456789"
    assert storage.read_bytes(uri, 3, 6) == b"345"
    assert storage.read_bytes(uri, 8, 100) == b"89"
    assert storage.read_bytes(uri, 50, 60) == b""
    assert storage.read_bytes(uri, 4, 4) == b""
    assert storage.describe(uri) == ("file", 10)
    assert storage.describe(folder) == ("folder", 0)


def test_list_files_is_sorted_and_sees_new_files(folder: str) -> None:
    for name in ("b/2.bin", "a.bin", "b/1.bin"):
        storage.write_bytes(storage.join(folder, name), name.encode())
    assert storage.list_files(folder) == [("a.bin", 5), ("b/1.bin", 7), ("b/2.bin", 7)]
    storage.write_bytes(storage.join(folder, "c.bin"), b"")
    assert storage.list_files(folder)[-1] == ("c.bin", 0)
    canonical = storage.canonical(folder)
    found = [f"{canonical}/b/1.bin", f"{canonical}/b/2.bin"]
    matches = storage.glob(storage.join(folder, "b", "*.bin"))
    assert [match[:3] for match in matches] == [(uri, "file", 7) for uri in found]
    if not folder.startswith("memory"):  # that file system spells a time in two ways
        assert [match[3] for match in matches] == [storage.version(uri) for uri in found]
    assert storage.glob(storage.join(folder, "?")) == [(f"{canonical}/b", "folder", 0, "")]


def test_a_file_moves_whole_and_only_once(folder: str) -> None:
    old, new = storage.join(folder, "a", "x.bin"), storage.join(folder, "b", "c", "x.bin")
    storage.write_bytes(old, b"words")
    storage.write_bytes(new, b"of an earlier try")
    assert storage.move(old, new)
    assert storage.read_bytes(new) == b"words" and not storage.exists(old)
    assert not storage.move(old, new)
    assert storage.read_bytes(new) == b"words"


def test_missing_is_one_line_with_the_name(folder: str) -> None:
    uri = storage.join(folder, "nothing")
    for call in (storage.read_bytes, storage.list_files, storage.describe, local_folder):
        with pytest.raises(StorageError, match="nothing: no such file or folder") as caught:
            call(uri)
        assert "\n" not in str(caught.value)
        assert caught.value.reason == "missing"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(StorageError):
        storage.write_bytes(str(target), "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_join_and_canonical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.join("s3://bucket", "a/", "/b.jpg") == "s3://bucket/a/b.jpg"
    assert storage.join("/", "a") == "/a"
    assert storage.join("memory://", "a") == "memory://a"
    assert storage.canonical("photos/") == f"{tmp_path}/photos"
    assert storage.canonical(f"file://{tmp_path}/photos") == f"{tmp_path}/photos"
    assert storage.canonical("s3://bucket/photos/") == "s3://bucket/photos"
    assert storage.canonical("s3://bucket/photos//a.jpg") == "s3://bucket/photos//a.jpg"
    assert storage.canonical("s3://bucket/photos//") == "s3://bucket/photos//"  # the folder of photos//a.jpg alone


@pytest.mark.parametrize(
    ("folder", "name"),
    [("s3://b/a", "x"), ("s3://b/a//", "x"), ("s3://b", "x"), ("/", "x"), ("/a", "x"), ("memory://", "x")],
)
def test_a_folder_and_a_name_make_the_uri_again(folder: str, name: str) -> None:
    assert storage.folder_and_name(storage.below(folder, name)) == (folder, name)


def test_a_name_that_looks_like_a_uri_stays_a_name(tmp_path: Path) -> None:
    """A member may have such a name; it must not redirect a write or a read."""
    for name in ("memory://x.jpg", "zip::memory://x.jpg"):
        uri = storage.join(str(tmp_path), "out", name)
        storage.write_bytes(uri, b"here")
        assert (tmp_path / "out" / name).read_bytes() == b"here"


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"12")
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    (tmp_path / "secret").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    version = storage.version(str(tmp_path / "a.jpg"))
    assert list(storage.entries(str(tmp_path))) == [
        ("a.jpg", "file", 2, version),
        ("pipe", "device", 0, ""),
        ("secret", "link", 0, ""),
        ("sub/circle", "link", 0, ""),
    ]
    assert storage.list_files(str(tmp_path)) == [("a.jpg", 2)]


def test_unknown_protocol_and_no_access(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unknown protocol gopher://"):
        storage_client.filesystem("gopher://host/x")
    with pytest.raises(StorageError, match="a.bin/b.bin: a part of this path is a file"):
        (tmp_path / "a.bin").write_bytes(b"")
        storage.read_bytes(str(tmp_path / "a.bin" / "b.bin"))


@pytest.mark.parametrize(("uri", "client", "extra"), [("gs://b/a", "gcsfs", "gs"), ("abfs://b/a", "adlfs", "azure")])
def test_a_client_that_is_not_installed_is_named_with_its_extra(uri: str, client: str, extra: str) -> None:
    if find_spec(client):
        pytest.skip(f"{client} is installed")
    with pytest.raises(StorageError, match=rf"{uri}: .*{client}.*; here and on every node, .* '\.\[{extra}\]'"):
        storage_client.filesystem(uri)


def test_the_environment_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("UNRELATED", "x")
    settings = storage_client.environment()
    assert settings["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert "UNRELATED" not in settings
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    storage_client.configure(settings)
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"


def test_the_environment_stays_where_the_nodes_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but query strings: they belong to the sources of a run, and no node has them."""
    monkeypatch.setattr(addresses, "_queries", {"https://host/a.tar": "signature=x"})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    with storage_client.kept(True):
        assert list(storage_client.environment()) == [addresses.VARIABLE]
        assert storage_client.local_variables() == []
    with storage_client.kept(False):
        assert storage_client.environment()["AWS_ACCESS_KEY_ID"] == "key"
        assert "AWS_PROFILE" in storage_client.local_variables()


def test_local_folder_copies_a_remote_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    uri = f"memory://{tmp_path.name}/weights"
    storage.write_bytes(storage.join(uri, "lcm/unet.bin"), b"unet")
    copy = local_folder(uri)
    assert (copy / "lcm" / "unet.bin").read_bytes() == b"unet"
    (copy / "mark").touch()
    assert (local_folder(uri) / "mark").exists()
    storage.write_bytes(storage.join(uri, "lcm/unet.bin"), b"newer")
    assert (local_folder(uri) / "lcm" / "unet.bin").read_bytes() == b"newer"
    storage.write_bytes(storage.join(uri, "face/yunet.onnx"), b"yunet")
    part = local_folder(uri, only=("face/yunet.onnx", "not/there.bin"))
    assert [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()] == ["face/yunet.onnx"]
    assert (local_folder(uri) / "lcm" / "unet.bin").exists()
    assert local_folder(str(tmp_path)) == tmp_path


def test_local_folder_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    uri = f"memory://{tmp_path.name}/hostile"
    storage.write_bytes(f"{uri}/a/../../../escape.bin", b"x")
    with pytest.raises(StorageError, match="leads out of its folder"):
        local_folder(uri)


def test_arrow_reads_through_it(folder: str) -> None:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2]}), sink)
    storage.write_bytes(storage.join(folder, "t.parquet"), sink.getvalue().to_pybytes())
    fs, path = storage.arrow_filesystem(storage.join(folder, "t.parquet"))
    assert pq.read_table(path, filesystem=fs)["a"].to_pylist() == [1, 2]


def test_the_error_survives_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(StorageError("a: gone", "missing")))
    assert (str(error), error.reason) == ("a: gone", "missing")


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:SECRET@host/a.tar",
        "https://SECRET@host/a.tar",
        "s3://key:SECRET@bucket/a.tar",
        "gopher://user:SECRET@host/a.tar",
        "https://user:SEC/RET@host/a.tar",
        "https://user%3ASECRET@host/a.tar",
        "https:/user:SECRET@host/a.tar",
        "https://user:SECRET/a.tar",
        "s3://key%3aSECRET@bucket/a.tar",
    ],
)
def test_a_uri_with_credentials_is_refused_without_a_word_of_them(uri: str) -> None:
    with pytest.raises(StorageError, match="holds credentials") as caught:
        storage.canonical(uri)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["me@home:1/a.jpg", "a.jpg?sig=1", "https://user:x@host/a.jpg"])
def test_a_name_that_looks_like_credentials_stays_a_name(name: str, folder: str) -> None:
    uri = storage.join(folder, name)
    storage.write_bytes(uri, b"here")
    assert storage.read_bytes(uri) == b"here"


class ClientError(Exception):
    """An error as botocore raises it, with the server's answer in `response`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "reason", "stops"),
    [
        ("ExpiredToken", "credentials", True),
        ("InvalidAccessKeyId", "credentials", True),
        ("SignatureDoesNotMatch", "credentials", True),
        ("AccessDenied", "denied", False),
        ("SlowDown", "throttled", True),
    ],
)
def test_a_code_of_s3_behind_the_clients_error(code: str, reason: str, stops: bool) -> None:
    """s3fs turns the first four into PermissionErrors, with the code in their cause."""
    with pytest.raises(StorageError) as caught, storage_errors("s3://bucket/a.tar"):
        raise OSError(16, "busy") if code == "SlowDown" else PermissionError("no") from ClientError(code)
    assert (caught.value.reason, caught.value.stops_run) == (reason, stops)
    assert "\n" not in str(caught.value)


def test_a_version_tells_a_file_from_the_one_before(folder: str) -> None:
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, b"one")
    first = storage.version(uri)
    assert storage.version(uri) == first
    storage.write_bytes(uri, b"two")
    assert storage.version(uri) != first
