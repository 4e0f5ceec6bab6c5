"""First stage: each index row comes out once, read or not."""

from __future__ import annotations

import errno
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from interlcm.weights_index import empty_index
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from pipeline.stages import fetch as fetch_stage
from pipeline.stages.fetch import fetch, unsafe
from pipeline.stages.row import SCHEMA
from pipeline.storage import client as storage_client
from pipeline.storage.errors import StorageError
from tests.support.archives import PHOTOS, put, tar_bytes, zip_bytes
from tests.support.rows import pending_rows
from tests.support.stages import indexed

JOB = Job(Settings(), "nowhere", "attempt", "", "", environment=Environment({}), weights_index=empty_index())


def fetched(table: pa.Table) -> list[dict[str, Any]]:
    """The rows that come out, which are as many as go in and have the same ids."""
    tables = list(fetch(table, JOB))
    assert all(found.schema.equals(SCHEMA) for found in tables)
    rows = pa.concat_tables(tables).to_pylist()
    assert sorted(row["photo_id"] for row in rows) == sorted(table["photo_id"].to_pylist())
    return rows


def outcomes(table: pa.Table) -> dict[str, bytes | str]:
    """By member, the bytes that were read, or the error_type."""
    return {row["member"]: row["data"] if row["status"] is None else row["error_type"] for row in fetched(table)}


@pytest.mark.parametrize("archive", ["a.tar", "a.tar.gz", "a.zip", "folder"])
def test_members_come_with_their_bytes(archive: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if archive == "folder":
        for name, data in PHOTOS.items():
            put(str(tmp_path / archive), name, data)
    else:
        data = zip_bytes(PHOTOS) if archive == "a.zip" else tar_bytes(PHOTOS, "w:gz" if "gz" in archive else "w")
        put(str(tmp_path), archive, data)
    table = indexed(tmp_path / archive, tmp_path / "out")
    caplog.set_level("INFO", "interlcm")
    assert outcomes(table) == PHOTOS
    (line,) = caplog.messages
    ids = " ".join(table["photo_id"].to_pylist())
    assert line == f"fetch begins {len(PHOTOS)} photos of {tmp_path / archive}: {ids}"
    rows = fetched(table.slice(2, 3))  # and in the middle of it
    assert {row["member"]: row["data"] for row in rows} == {name: PHOTOS[name] for name in sorted(PHOTOS)[2:5]}
    assert all((row["bytes"], row["archive_name"]) == (len(row["data"]), archive) for row in rows)
    assert all(row["seconds_fetch"] >= 0 and row["faces"] == [] for row in rows)


def test_large_members_leave_in_several_blocks(tmp_path: Path) -> None:
    put(str(tmp_path), "a.tar", tar_bytes(PHOTOS))
    table = indexed(tmp_path / "a.tar", tmp_path / "out")
    assert [block.num_rows for block in fetch(table, JOB, 70_000)][:3] == [2, 2, 2]  # members have 40,000
    assert outcomes(table) == PHOTOS


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("box", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE), ("tty", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    rows = {row["member"]: row for row in fetched(indexed(tmp_path / "a.tar", tmp_path / "out"))}
    assert rows["a.jpg"]["data"] == b"abc"
    skipped = {name: row["error"] for name, row in rows.items() if row["status"] == "skipped"}
    words = {name: f"a {kind}, not a file" for name, kind in zip(skipped, ("directory", "link", "device"), strict=True)}
    assert skipped == words
    assert set(skipped) == {"box", "link.jpg", "tty"}


UNSAFE = [
    "../../escape.jpg",
    "/etc/a.jpg",
    "a/../../b.jpg",
    "..",
    "..\\a.jpg",
    "\\a.jpg",
    "C:\\a.jpg",
    "c:a.jpg",
    "a\0b",
]
SAFE = ["a.jpg", "./a.jpg", "box 1/a..jpg", "...jpg", "10:15:22.jpg", "box: 3/a.jpg", "a/C:/b.jpg"]


def test_paths_that_lead_out_are_known() -> None:
    assert [path for path in UNSAFE if not unsafe(path)] == []
    assert [path for path in SAFE if unsafe(path)] == []


def test_an_unsafe_path_fails_and_is_not_read(tmp_path: Path) -> None:
    put(
        str(tmp_path),
        "a.tar",
        tar_bytes({"../../escape.jpg": b"abc", "/abs.jpg": b"abc", "fine.jpg": b"abc"}),
    )
    table = indexed(tmp_path / "a.tar", tmp_path / "out")
    assert outcomes(table) == {
        "../../escape.jpg": "unsafe_path",
        "/abs.jpg": "unsafe_path",
        "fine.jpg": b"abc",
    }
    failed = [row for row in fetched(table) if row["status"] is not None]
    assert all(row["status"] == "failed" and row["data"] is None for row in failed)
    assert all(row["member"] in row["error"] and "rename" in row["error"] for row in failed)


def test_an_archive_that_cannot_be_read_is_one_failed_row(tmp_path: Path) -> None:
    put(str(tmp_path), "empty.tar", b"")
    (row,) = fetched(indexed(tmp_path / "empty.tar", tmp_path / "out"))
    assert (row["member"], row["status"], row["error_type"]) == ("", "failed", "archive_truncated")
    assert "empty.tar" in row["error"] and "\n" not in row["error"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_loses_only_its_end(mode: str, tmp_path: Path) -> None:
    data = {name: bytes(range(256)) * 200 + name.encode() for name in PHOTOS}
    whole = tar_bytes(data, mode)
    put(str(tmp_path), "a.tar", whole[: len(whole) * 2 // 3])
    found = outcomes(indexed(tmp_path / "a.tar", tmp_path / "out"))
    assert found.pop("") == "archive_truncated"
    read = [name for name, outcome in found.items() if outcome == data[name]]
    assert 0 < len(read) < len(data)
    assert {outcome for name, outcome in found.items() if name not in read} <= {"archive_truncated"}


def test_a_member_that_is_gone_since_the_index_costs_itself(tmp_path: Path) -> None:
    for name, data in PHOTOS.items():
        put(str(tmp_path / "folder"), name, data)
    table = indexed(tmp_path / "folder", tmp_path / "out")
    (tmp_path / "folder" / "album" / "03.jpg").unlink()
    assert outcomes(table) == PHOTOS | {"album/03.jpg": "member_unreadable"}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_an_archive_that_is_gone_since_the_index_stops_the_run(name: str, tmp_path: Path) -> None:
    pack = {"a.tar": tar_bytes, "a.tar.gz": lambda files: tar_bytes(files, "w:gz"), "a.zip": zip_bytes}[name]
    put(str(tmp_path), name, pack(PHOTOS))
    table = indexed(tmp_path / name, tmp_path / "out")
    (tmp_path / name).unlink()
    stopped(table, str(tmp_path / name))


def stopped(table: pa.Table, source: str) -> None:
    """No row comes out, only an error of one line with a remedy: no photo is to blame."""
    with pytest.raises(StorageError) as error:
        list(fetch(table, JOB))
    assert error.value.reason == "source" and error.value.stops_run
    assert str(error.value).startswith(f"{source}: ") and "\n" not in str(error.value)
    assert f"leave it out with --where \"source <> '{source}'\"" in str(error.value)


def test_a_folder_that_is_gone_or_closed_since_the_index_stops_the_run(tmp_path: Path) -> None:
    for name, data in PHOTOS.items():
        put(str(tmp_path / "folder"), name, data)
    table = indexed(tmp_path / "folder", tmp_path / "out")
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    stopped(table, str(tmp_path / "folder"))
    (tmp_path / "folder").write_bytes(b"a file of that name")
    stopped(table, str(tmp_path / "folder"))
    (tmp_path / "folder").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "folder")
    assert outcomes(table) == PHOTOS


def test_a_folder_that_comes_back_while_a_photo_is_looked_for_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is gone when the photo is read, but back when the source is checked: the photo is read again."""
    for name, data in PHOTOS.items():
        put(str(tmp_path / "folder"), name, data)
    table = indexed(tmp_path / "folder", tmp_path / "out")
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    ask = fetch_stage.check_source

    def come_back(*source: Any) -> None:
        if (tmp_path / "elsewhere").exists():
            (tmp_path / "elsewhere").rename(tmp_path / "folder")
        ask(*source)

    monkeypatch.setattr(fetch_stage, "check_source", come_back)
    assert outcomes(table) == PHOTOS


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_an_archive_that_is_replaced_while_it_is_read_gives_nothing_of_that_block(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive still has the right version when the block begins."""
    pack = {"a.tar": tar_bytes, "a.tar.gz": lambda files: tar_bytes(files, "w:gz"), "a.zip": zip_bytes}[name]
    put(str(tmp_path), name, pack(PHOTOS))
    table = indexed(tmp_path / name, tmp_path / "out")
    other = pack(dict(zip(PHOTOS, reversed(PHOTOS.values()), strict=True)))
    read = fetch_stage.received

    def and_replace(row: Any, data: Any) -> Any:
        put(str(tmp_path), name, other)
        return read(row, data)

    monkeypatch.setattr(fetch_stage, "received", and_replace)
    monkeypatch.setattr(fetch_stage, "BLOCK_PHOTOS", 2)
    stopped(table, str(tmp_path / name))


def test_a_folder_that_is_a_file_since_the_index_stops_the_run(tmp_path: Path) -> None:
    put(str(tmp_path), "box/a.tar", tar_bytes(PHOTOS))
    table = indexed(tmp_path / "box" / "a.tar", tmp_path / "out")
    (tmp_path / "box" / "a.tar").unlink()
    (tmp_path / "box").rmdir()
    (tmp_path / "box").write_bytes(b"")
    stopped(table, f"{tmp_path}/box/a.tar")


class FailingFileSystem(MemoryFileSystem):
    """Files of which one cannot be read, once for each exception in `errors`."""

    protocol = "failing"
    errors: list[Exception] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("failing://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        if self.errors and path.endswith("03.jpg"):
            raise self.errors.pop()
        return bytes(super().cat_file(path, start, end, **kwargs))


@pytest.fixture
def failing(tmp_path: Path) -> pa.Table:
    """The index of a folder on that file system."""
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
    for name, data in PHOTOS.items():
        put("failing://in", name, data)
    write_archive(
        Source("failing://in", "folder"),
        "in",
        str(tmp_path / "out/index/in-0123456789abcdef.parquet"),
        str(tmp_path),
        Limits(),
    )
    return pending_rows(str(tmp_path / "out"))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), NotADirectoryError(errno.ENOTDIR, "a file")])
def test_what_fails_for_one_member_costs_that_member(error: Exception, failing: pa.Table) -> None:
    FailingFileSystem.errors = [error]
    assert outcomes(failing) == PHOTOS  # one error does no harm
    FailingFileSystem.errors = [error] * 4  # two reads, a check of the source, and two more reads
    assert outcomes(failing) == PHOTOS | {"album/03.jpg": "member_unreadable"}


def test_trouble_that_is_not_the_archives_stops_the_run(failing: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_client, "_FIRST_PAUSE", 0.0)
    refused = PermissionError("The provided token has expired.")
    refused.response = {"Error": {"Code": "ExpiredToken"}}  # type: ignore[attr-defined]
    for error, words in ((ConnectionResetError("gone"), "cannot be reached"), (refused, "credentials")):
        FailingFileSystem.errors = [error] * 99
        with pytest.raises(StorageError, match=words):
            list(fetch(failing, JOB))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_an_archive_that_changed_since_the_index_gives_no_wrong_bytes(name: str, tmp_path: Path) -> None:
    pack = {"a.tar": tar_bytes, "a.tar.gz": lambda files: tar_bytes(files, "w:gz"), "a.zip": zip_bytes}[name]
    put(str(tmp_path), name, pack(PHOTOS))
    table = indexed(tmp_path / name, tmp_path / "out")
    put(str(tmp_path), name, pack(dict(zip(PHOTOS, reversed(PHOTOS.values()), strict=True))))
    stopped(table, str(tmp_path / name))


def test_a_name_that_stands_twice_gives_both_contents(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for data in (b"first", b"second", b"third"):
            info = tarfile.TarInfo("a.jpg" if data != b"third" else "./a.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    rows = fetched(indexed(tmp_path / "a.tar", tmp_path / "out"))
    assert {row["occurrence"]: row["data"] for row in rows} == {0: b"first", 1: b"second", 2: b"third"}


def test_a_zip_that_lists_the_same_bytes_twice_loses_no_row(tmp_path: Path) -> None:
    """A central directory may name a local header several times: here it names all of them twice."""
    data = zip_bytes({"a.jpg": b"abc", "b.jpg": b"def"})
    end = len(data) - 22  # the end record without a comment: PKWARE APPNOTE 4.3.16
    count, length, start = struct.unpack_from("<10xHLL", data, end)
    directory = data[start : start + length]
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2 * count, 2 * count, 2 * length, start, 0)
    put(str(tmp_path), "a.zip", data[:start] + directory * 2 + record)
    rows = fetched(indexed(tmp_path / "a.zip", tmp_path / "out"))
    assert sorted((row["member"], row["occurrence"], row["data"]) for row in rows) == [
        ("a.jpg", 0, b"abc"), ("a.jpg", 1, b"abc"), ("b.jpg", 0, b"def"), ("b.jpg", 1, b"def")
    ]  # fmt: skip
