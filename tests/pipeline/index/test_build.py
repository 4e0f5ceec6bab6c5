"""The index of real archives."""

import os
import pickle
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError, member_of
from pipeline.config.limits import Limits
from pipeline.index.build import IndexSummary, build_index, write_archive
from pipeline.index.files import index_files
from pipeline.index.schema import photo_id
from pipeline.index.sources import Source, expand
from pipeline.manifest import counts as manifest_counts
from pipeline.manifest import write as manifest_write
from tests.support.archives import PHOTOS, index_rows, index_sources, loose, put, tar_bytes, zip_bytes

BYTES = sum(map(len, PHOTOS.values()))


def result(row: dict[str, Any], status: str) -> dict[str, Any]:
    columns = {name: row[name] for name in ("photo_id", "source", "member", "error_type", "error")}
    return columns | {"status": status, "finished_at": datetime(2026, 1, 1, tzinfo=UTC), "faces": []}


def test_every_archive_of_a_folder_and_its_loose_files(tmp_path: Path) -> None:
    source = loose(tmp_path / "in")
    put(source, "a/photos.tar", tar_bytes(PHOTOS))
    put(source, "b/photos.tar", tar_bytes(PHOTOS, "w:gz"))
    put(source, "c.tar", zip_bytes(PHOTOS))
    put(source, "empty.tar", b"")
    put(source, "notes.txt", b"text")
    summary = index_sources([source], str(tmp_path / "out"))
    assert summary == IndexSummary(archives=5, members=25, photos=25, bytes=4 * BYTES + 4, errors=1)
    found = index_rows(tmp_path / "out")
    assert len({row["photo_id"] for row in found}) == len(found) == 26
    formats = {(row["source"].removeprefix(source), row["archive_format"]) for row in found}
    assert formats == {
        ("", "folder"),
        ("/a/photos.tar", "tar"),
        ("/b/photos.tar", "tar.gz"),
        ("/c.tar", "zip"),
        ("/empty.tar", ""),
    }
    names = {row["source"]: row["archive_name"] for row in found}
    assert len(set(names.values())) == 5
    assert names[f"{source}/a/photos.tar"] == "photos.tar"
    assert names[f"{source}/b/photos.tar"].startswith("photos.tar-")
    assert names[source] == "in"
    failed = [row for row in found if row["error_type"]]
    assert [(row["member"], row["kind"], row["error_type"]) for row in failed] == [("", "archive", "archive_truncated")]
    assert "empty.tar" in failed[0]["error"]


def test_a_row_leads_back_to_the_bytes(tmp_path: Path) -> None:
    uri = put(str(tmp_path), "a.zip", zip_bytes(PHOTOS))
    index_sources([uri], str(tmp_path / "out"))
    found = index_rows(tmp_path / "out")
    assert [row["photo_id"] for row in found] == [photo_id(uri, name, 0) for name in PHOTOS]
    read = archives.read_members(uri, "zip", [member_of(row) for row in found], Limits())
    assert {member.path: data for member, data in read} == PHOTOS


def test_a_truncated_archive_keeps_what_came_before(tmp_path: Path) -> None:
    uri = put(str(tmp_path), "cut.tar", tar_bytes(PHOTOS)[:100_000])
    summary = index_sources([uri], str(tmp_path / "out"))
    assert (summary.members, summary.errors) == (3, 1)
    assert [row["member"] for row in index_rows(tmp_path / "out")] == [*list(PHOTOS)[:3], ""]
    assert [row["error_type"] for row in index_rows(tmp_path / "out")] == [None] * 3 + ["archive_truncated"]


def test_repeated_and_hostile_names_are_rows_of_their_own(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("a.jpg", "../../escape.jpg", "a.jpg", "", "a.jpg"):
            tar.addfile(tarfile.TarInfo(name))
        tar.addfile(tarfile.TarInfo("caf\udce9.jpg"))
    summary = index_sources([str(tmp_path / "a.tar")], str(tmp_path / "out"))
    assert summary == IndexSummary(archives=1, members=6, photos=6, bytes=0, errors=0)
    found = index_rows(tmp_path / "out")
    assert [(row["member"], row["occurrence"]) for row in found] == [
        ("a.jpg", 0),
        ("../../escape.jpg", 0),
        ("a.jpg", 1),
        ("\u201b", 0),
        ("a.jpg", 2),
        ("caf\u201bE9.jpg", 0),
    ]
    assert len({row["photo_id"] for row in found}) == 6
    assert os.listdir(tmp_path / "out") == ["index"]


def test_indexed_archives_stay_and_new_ones_are_added(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    first = put(str(tmp_path), "a/x.tar", tar_bytes(PHOTOS))
    index_sources([first], output)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "index").iterdir()}
    put(str(tmp_path), "a/x.tar", b"changed")
    second = put(str(tmp_path), "b/x.tar", tar_bytes(PHOTOS))
    assert index_sources([first, second], output).archives == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    names = {row["source"]: row["archive_name"] for row in index_rows(tmp_path / "out")}
    assert names[first] == "x.tar"
    assert names[second].startswith("x.tar-")


def test_a_mended_archive_is_indexed_anew_and_the_good_rows_stay(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    whole = tar_bytes(PHOTOS)
    uri = put(str(tmp_path), "a.tar", whole[:100_000])
    other = put(str(tmp_path), "b/a.tar", whole)
    index_sources([uri, other], output)
    before = {row["photo_id"] for row in index_rows(tmp_path / "out") if row["kind"] == "file"}
    manifest_write.write_part(
        [result(row, "failed" if row["error"] else "restored") for row in index_rows(tmp_path / "out")], output, "1"
    )
    assert manifest_counts.counts(output).failed == 1
    put(str(tmp_path), "a.tar", whole)
    assert index_sources([uri, other], output) == IndexSummary(2, 12, 12, 2 * BYTES, errors=0)
    found = index_rows(tmp_path / "out")
    assert before < {row["photo_id"] for row in found}
    assert {row["archive_name"] for row in found if row["source"] == uri} == {"a.tar"}
    counts = manifest_counts.counts(output)
    assert (counts.indexed, counts.restored, counts.failed, counts.pending) == (12, 9, 0, 3)
    assert counts.adds_up


def test_an_archive_of_which_nothing_is_left_keeps_its_rows(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    uri = put(str(tmp_path), "a.tar", tar_bytes(PHOTOS)[:100_000])
    index_sources([uri], output)
    before = index_rows(tmp_path / "out")
    put(str(tmp_path), "a.tar", b"")
    index_sources([uri], output)
    assert index_rows(tmp_path / "out") == before


def test_a_folder_that_grows_is_listed_again(tmp_path: Path) -> None:
    source, output = loose(tmp_path / "in"), str(tmp_path / "out")
    index_sources([source], output)
    before = {path: path.read_bytes() for path in (tmp_path / "out" / "index").iterdir()}
    index_sources([source], output)
    assert set((tmp_path / "out" / "index").iterdir()) == before.keys()  # nothing new, so no file
    for name in ("new.jpg", "album/newer.jpg"):
        put(source, name, b"new")
        summary = index_sources([source], output)
    assert (summary.archives, summary.photos) == (1, len(PHOTOS) + 2)
    assert {path: path.read_bytes() for path in before} == before
    found = index_rows(tmp_path / "out")
    assert sorted(row["member"] for row in found) == sorted([*PHOTOS, "new.jpg", "album/newer.jpg"])
    assert {row["archive_name"] for row in found} == {"in"}


def test_single_photos_belong_to_their_folder_and_are_indexed_once(tmp_path: Path) -> None:
    source, output = loose(tmp_path / "in"), str(tmp_path / "out")
    album = f"{source}/album"
    assert index_sources([f"{album}/00.jpg", f"{album}/01.jpg"], output).photos == 2
    assert index_sources([f"{album}/01.jpg"], output).photos == 2
    assert index_sources([f"{album}/0[1-3].jpg"], output).photos == 4
    summary = index_sources([album], output)
    assert (summary.archives, summary.photos) == (1, 6)
    found = index_rows(tmp_path / "out")
    assert sorted(row["member"] for row in found) == sorted(name.removeprefix("album/") for name in PHOTOS)
    assert {(row["source"], row["archive_name"]) for row in found} == {(album, "album")}


def test_a_subfolder_that_may_not_be_read_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = loose(tmp_path / "in"), tmp_path / "out"
    (tmp_path / "in" / "lost+found").mkdir()
    scan = os.scandir

    def refused(path: Any) -> Any:  # chmod does not stop root, and these tests may run as root
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert index_sources([source], str(output)).photos == len(PHOTOS)
    (closed,) = [row for row in index_rows(output) if row["member"] not in PHOTOS]
    assert (closed["member"], closed["kind"], closed["error_type"]) == ("lost+found", "directory", "folder_unreadable")


def test_names_that_a_disk_may_take_for_one_are_repetitions(tmp_path: Path) -> None:
    names = ["IMG_1.JPG", "img_1.jpg", "\u00e9.jpg", "e\u0301.jpg", "STRASSE.jpg", "stra\u00dfe.jpg", "other.jpg"]
    names += ["box./a.jpg", "box /a.jpg", "box/a.jpg", "...", " "]
    source = put(str(tmp_path), "a.tar", tar_bytes(dict.fromkeys(names, b"x")))
    index_sources([source], str(tmp_path / "out"))
    found = {row["member"]: row["occurrence"] for row in index_rows(tmp_path / "out")}
    assert [found[name] for name in names] == [0, 1, 0, 1, 0, 1, 0, 0, 1, 2, 0, 0]


def test_an_error_of_storage_in_a_task_is_one_line_and_costs_no_other_archive(tmp_path: Path) -> None:
    uris = [put(str(tmp_path), f"{name}.tar", tar_bytes(PHOTOS)) for name in "ab"]
    output = str(tmp_path / "out")
    target = index_files([Source(uris[0], "archive")], output, [])[0][2]
    Path(target).mkdir(parents=True)
    with pytest.raises(storage.StorageError, match="a folder, not a file") as caught:
        index_sources(uris, output)
    assert "\n" not in str(caught.value)
    Path(target).rmdir()
    assert {row["source"] for row in index_rows(tmp_path / "out")} == {uris[1]}
    assert index_sources(uris, output).archives == 2


class ClosedFileSystem(MemoryFileSystem):
    """Files that can be listed but not read, as in a bucket without the right to get objects."""

    protocol = "closed"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {"name": path, "size": 10, "type": "file"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        raise PermissionError(path)


def test_an_archive_closed_to_us_is_a_row(tmp_path: Path) -> None:
    fsspec.register_implementation("closed", ClosedFileSystem, clobber=True)
    target = str(tmp_path / "a.parquet")
    write_archive(Source("closed://a.tar", "archive"), "a.tar", target, str(tmp_path / "out"), Limits())
    row = pq.read_table(target).to_pylist()[0]
    assert (row["member"], row["error_type"]) == ("", "archive_unreadable")
    assert "closed://a.tar: access denied" in row["error"]


def test_many_members_pass_in_chunks(tmp_path: Path) -> None:
    count = 100_000
    block = tar_bytes({"0000000.jpg": b""})[:512]
    with open(tmp_path / "many.tar", "wb") as file:
        for n in range(count):
            info = tarfile.TarInfo(f"{n:07}.jpg")
            file.write(info.tobuf(tarfile.USTAR_FORMAT) if n % 1000 == 0 else block)
        file.write(bytes(1024))
    target = str(tmp_path / "out" / "index" / "many.parquet")
    write_archive(Source(str(tmp_path / "many.tar"), "archive"), "many.tar", target, str(tmp_path / "out"), Limits())
    table = pq.read_table(target)
    assert len(table) == count
    assert len(set(table["photo_id"].to_pylist())) == count
    assert pq.ParquetFile(target).num_row_groups == 2


def test_the_error_survives_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(ArchiveError("a.zip: locked", "encrypted")))
    assert (str(error), error.error_type) == ("a.zip: locked", "encrypted")


def test_names_in_a_guessed_code_page_are_said(tmp_path: Path) -> None:
    data = zip_bytes({"abcd.jpg": b"a", "plain.jpg": b"b"}).replace(b"abcd", "卒業".encode("cp932"))
    uri = put(str(tmp_path), "a.zip", data)
    (note,) = build_index(expand([uri], str(tmp_path / "out")), str(tmp_path / "out"), Limits()).notes
    assert note.startswith(f"{uri}: names whose code page the zip does not say, read as cp437: 1, such as ")
    for other, code_page in (("said", "cp932"), ("out", "")):  # the second time they are there
        output = str(tmp_path / other)
        assert build_index(expand([uri], output), output, Limits(), code_page).notes == ()


def test_a_zip_keeps_the_code_page_with_which_it_was_indexed(tmp_path: Path) -> None:
    data = zip_bytes({"abcd.jpg": b"a"}).replace(b"abcd", "卒業".encode("cp932"))
    uri, output = put(str(tmp_path), "a.zip", data[:-9]), str(tmp_path / "out")  # cut short, so it is listed again
    build_index(expand([uri], output), output, Limits(), "cp932")
    put(str(tmp_path), "a.zip", data)
    build_index(expand([uri], output), output, Limits())
    assert [(row["member"], row["zip_names"]) for row in index_rows(tmp_path / "out")] == [("卒業.jpg", "cp932")]
    with pytest.raises(storage.StorageError, match="indexed in cp932"):
        build_index(expand([uri], output), output, Limits(), "cp866")
