"""Storage against a real S3 server (tests/support/ceph.py)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from pipeline.storage import client as storage_client
from tests.support.ceph import CephGateway, free_port
from tests.support.rows import face, index_row, pending_rows, result_row, write_index


def test_what_is_written_is_read(bucket: str) -> None:
    uri = storage.join(bucket, "folder", "näme with spaces & more.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b""
    data = bytes(range(256)) * 40_000  # 10 MB: above the size at which s3fs's own files go multipart
    storage.write_bytes(uri, data)
    assert storage.read_bytes(uri) == data


def test_a_key_that_looks_like_a_version_is_a_key(bucket: str) -> None:
    plain, odd = storage.join(bucket, "a.png"), storage.join(bucket, "a.png?versionId=1")
    storage.write_bytes(plain, b"plain")
    storage.write_bytes(odd, b"odd one")
    assert (storage.read_bytes(plain), storage.read_bytes(odd)) == (b"plain", b"odd one")
    assert storage.read_bytes(odd, 0, 3) == b"odd"
    assert storage.describe(odd) == ("file", 7)
    assert storage.list_files(bucket) == [("a.png", 5), ("a.png?versionId=1", 7)]


def test_a_key_moves(bucket: str) -> None:
    old, new = storage.join(bucket, "restored", "ä b//x.png?versionId=1"), storage.join(bucket, "withdrawn", "y.png")
    storage.write_bytes(old, b"words")
    assert storage.move(old, new)
    assert (storage.list_files(bucket), storage.read_bytes(new)) == ([("withdrawn/y.png", 5)], b"words")
    assert not storage.move(old, new)


def test_a_version_is_the_content(bucket: str) -> None:
    uri = storage.join(bucket, "a.bin")
    storage.write_bytes(uri, b"one")
    first = storage.version(uri)
    storage.write_bytes(uri, b"two")
    assert storage.version(uri) != first
    storage.write_bytes(uri, b"one")
    assert storage.version(uri) == first


def test_ranged_reads(bucket: str) -> None:
    uri = storage.join(bucket, "a.bin")
    storage.write_bytes(uri, b"0123456789")
    assert storage.read_bytes(uri, 0, 4) == b"0123"
    assert storage.read_bytes(uri, 3, 7) == b"3456"
    assert storage.read_bytes(uri, 8, 20) == b"89"
    assert storage.read_bytes(uri, 6) == b"6789"


def test_files_below_a_folder(bucket: str) -> None:
    for name, size in (("run/b.bin", 3), ("run/a/x.bin", 2), ("run/a/y.bin", 1), ("other.bin", 9)):
        storage.write_bytes(storage.join(bucket, name), bytes(size))
    assert storage.list_files(storage.join(bucket, "run")) == [("a/x.bin", 2), ("a/y.bin", 1), ("b.bin", 3)]
    storage.write_bytes(storage.join(bucket, "run/c.bin"), b"new")  # a listing must not be from a cache
    assert [name for name, _ in storage.list_files(storage.join(bucket, "run"))][-1] == "c.bin"
    assert storage.exists(storage.join(bucket, "run/a"))
    assert not storage.exists(storage.join(bucket, "ru"))


def test_a_folder_of_several_pages_is_listed_in_order(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Z.jpg", "a b.jpg", "a/1.jpg", "a/2.jpg", "a0.jpg", "é.jpg", "\uffee.jpg", "\U0001f5bc.jpg"]
    for name in names:
        storage.write_bytes(storage.join(bucket, "in", name), name.encode())
    fs, path = storage_client.filesystem(bucket)
    fs.call_s3("put_object", Bucket=path, Key="in/empty/", Body=b"")  # as consoles mark an empty folder
    storage.write_bytes(storage.join(bucket, "in2", "other.jpg"), b"")
    pages = []
    ask = type(fs).call_s3

    def three_at_a_time(self: object, method: str, **words: object) -> dict[str, object]:
        page: dict[str, object] = ask(self, method, MaxKeys=3, **words)
        pages.append(page["KeyCount"])
        return page

    monkeypatch.setattr(type(fs), "call_s3", three_at_a_time)
    found = list(storage.entries(storage.join(bucket, "in")))
    assert [entry[:3] for entry in found] == [(name, "file", len(name.encode())) for name in names]
    assert [entry[3] for entry in found] == [storage.version(storage.join(bucket, "in", name)) for name in names]
    assert pages == [3, 3, 3]


def test_a_reader_sees_the_old_file_or_the_new_one(bucket: str) -> None:
    """Both have the same size and one repeated byte each, so that a mixture would show."""
    uri = storage.join(bucket, "part.bin")
    versions = [bytes([n]) * (1 << 20) for n in range(8)]
    storage.write_bytes(uri, versions[0])
    with ThreadPoolExecutor(2) as pool:
        writing = pool.map(lambda data: storage.write_bytes(uri, data), versions)
        read = list(pool.map(lambda _: storage.read_bytes(uri), range(16)))
        list(writing)
    assert set(read) <= set(versions)
    assert storage.read_bytes(uri) in versions
    assert storage.list_files(bucket) == [("part.bin", 1 << 20)]  # and nothing half-done beside it


@pytest.mark.parametrize("call", [storage.read_bytes, lambda uri: storage.write_bytes(uri, b"x"), storage.list_files])
def test_no_such_bucket(s3: CephGateway, call: object) -> None:
    assert callable(call)
    with pytest.raises(storage.StorageError) as error:
        call("s3://no-such-bucket-here/file")
    assert "no-such-bucket-here" in str(error.value)
    assert "bucket" in str(error.value).replace("no-such-bucket-here", "")
    assert "\n" not in str(error.value)


def test_no_such_file(bucket: str) -> None:
    uri = storage.join(bucket, "missing.tar")
    with pytest.raises(storage.StorageError, match="missing.tar"):
        storage.read_bytes(uri)


def test_wrong_credentials(bucket: str, fresh_clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(storage.StorageError) as error:
        storage.list_files(bucket)
    assert error.value.reason == "credentials"
    assert "wrong" not in str(error.value)
    with pytest.raises(storage.StorageError) as error:
        storage.describe(storage.join(bucket, "a.tar"))  # HEAD, whose answer is no more than 403
    assert error.value.reason == "credentials"


def test_no_server(bucket: str, fresh_clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(storage.StorageError) as error:
        storage.list_files(bucket)
    assert error.value.reason == "unreachable"


def test_the_environment_reaches_another_process(s3: CephGateway) -> None:
    settings = storage_client.environment()
    assert s3.environment.items() <= settings.items()
    assert all(name.startswith(("AWS_", "GOOGLE_", "AZURE_")) for name in settings)


def test_arrow_reads_through_the_same_client(bucket: str) -> None:
    storage.write_bytes(storage.join(bucket, "a.bin"), b"arrow")
    filesystem, path = storage.arrow_filesystem(storage.join(bucket, "a.bin"))
    with filesystem.open_input_file(path) as file:
        assert file.read() == b"arrow"


def test_a_run_on_s3_counts_and_continues(bucket: str) -> None:
    output = storage.join(bucket, "runs/first")
    with pytest.raises(storage.StorageError, match="no run there"):
        counts(output)
    write_index(output, [index_row(member) for member in ("a.jpg", "b.jpg", "c.jpg")])
    part = write_part([result_row("a.jpg", face_count=1, faces=[face(0)])], output, "1")
    assert part.startswith(output + "/manifest/part-")
    assert pending_rows(output)["member"].to_pylist() == ["b.jpg", "c.jpg"]
    write_part([result_row("b.jpg", "no_face"), result_row("c.jpg", "failed")], output, "1")
    found = counts(output)
    assert (found.indexed, found.restored, found.no_face, found.failed, found.faces) == (3, 1, 1, 1, 1)
    assert found.adds_up
    with query.connect(output) as connection:
        found_faces = query.run(connection, "SELECT member, box[1] AS x0 FROM faces").to_pylist()
    assert found_faces == [{"member": "a.jpg", "x0": 1}]
