"""Archives by the programs that people pack with: GNU tar, Info-ZIP, 7-Zip, pzstd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.archives.reader import is_archive
from pipeline.stages.detect import archive_in
from tests.support.archives import PHOTOS, contents, index_rows, index_sources, listed, loose
from tests.support.exiftool import needed

PACKAGES = {"7z": "p7zip-full", "pzstd": "zstd"}


def packed(folder: Path, program: str, *words: str) -> None:
    """Run a packer in a folder; the test is skipped without it."""
    needed(program, PACKAGES.get(program, program))
    subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_hard_links_have_the_bytes_of_their_target(name: str, tmp_path: Path) -> None:
    folder = Path(loose(tmp_path / "in"))
    os.link(folder / "album/01.jpg", folder / "album/09.jpg")
    os.link(folder / "album/01.jpg", folder / "copy.jpg")
    packed(folder, "tar", "-V", "Box 7", "-acf", f"../{name}", "album", "copy.jpg")
    uri = str(tmp_path / name)
    members, error = listed(uri)
    assert error is None
    photos = [member for member in members if member.kind != "directory"]  # and the label is no member
    twins = dict.fromkeys(("album/09.jpg", "copy.jpg"), PHOTOS["album/01.jpg"])
    assert contents(uri, photos) == PHOTOS | twins


def test_a_hard_link_without_its_target_is_a_file_that_is_lost(tmp_path: Path) -> None:
    folder = Path(loose(tmp_path / "in"))
    os.link(folder / "album/01.jpg", folder / "copy.jpg")
    packed(folder, "tar", "-cf", "../a.tar", "album", "copy.jpg")
    packed(tmp_path, "tar", "--delete", "-f", "a.tar", "album/01.jpg")
    uri = str(tmp_path / "a.tar")
    members, _ = listed(uri)
    assert {member.path: member.kind for member in members}["copy.jpg"] == "file"
    files = [member for member in members if member.kind == "file"]
    assert contents(uri, files)["copy.jpg"] == "member_unreadable"


def test_names_by_info_zip_and_7_zip(tmp_path: Path) -> None:
    """Info-ZIP on Linux writes UTF-8 and does not say so."""
    names = ["Фото/卒業.jpg", "é.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    packed(tmp_path, "zip", "-qD", "a.zip", *names)
    packed(tmp_path, "7z", "a", "b.zip", *names)
    for archive in ("a.zip", "b.zip"):
        members, error = listed(str(tmp_path / archive))
        assert error is None
        assert contents(str(tmp_path / archive), members) == {name: name.encode() for name in names}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_frames_that_a_zstd_decoder_skips(jobs: str, tmp_path: Path) -> None:
    """pzstd puts one before each of its frames (RFC 8878, 3.1.2)."""
    folder = Path(loose(tmp_path / "in"))
    packed(folder, "tar", "-cf", "../a.tar", "album")
    packed(tmp_path, "pzstd", "-qp", jobs, "a.tar", "-o", "a.tar.zst")
    uri = str(tmp_path / "a.tar.zst")
    members, error = listed(uri)
    assert error is None
    assert contents(uri, [member for member in members if member.kind == "file"]) == PHOTOS


UNREAD = {
    "a.7z": ("7z", "a", "-t7z", "a.7z", "in"),
    "a.wim": ("7z", "a", "-twim", "a.wim", "in"),
    "a.tar.lzma": ("bash", "-c", "tar -c in | xz --format=lzma > a.tar.lzma"),
    "a.z01": ("zip", "-qr0", "-s", "64k", "a.zip", "in"),
    "a.7z.002": ("7z", "a", "-t7z", "-mx0", "-v64k", "a.7z", "in"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_an_archive_that_is_not_read_is_told_to_be_one(name: str, tmp_path: Path) -> None:
    loose(tmp_path / "scans/in")
    packed(tmp_path / "scans", *UNREAD[name])
    index_sources([str(tmp_path / "scans")], str(tmp_path / "out"))
    rows = index_rows(tmp_path / "out")
    told = [row for row in rows if row["error_type"]]
    made = [path.name for path in (tmp_path / "scans").iterdir() if path.name != "in"]
    assert {os.path.basename(row["source"]) for row in told} == set(made) >= {name}
    assert {(row["kind"], row["error_type"]) for row in told} == {("archive", "unsupported_archive")}
    assert all("an archive that is not read" in row["error"] for row in told)
    assert len(rows) == len(PHOTOS) + len(made)
    # The same under a name that says nothing, where content can.
    plain = tmp_path / "plain"
    (tmp_path / "scans" / min(made)).rename(plain)
    assert is_archive(str(plain))
    found = archive_in(plain.read_bytes())
    assert found is not None
    assert found.error_type == "unsupported_archive"


def test_incremental_and_multi_volume_tars(tmp_path: Path) -> None:
    """GNU's own kinds of member: a folder with the list of its files, the rest of a file that another volume begins."""
    folder = Path(loose(tmp_path / "in"))
    packed(folder, "tar", "-g", "../snapshot", "-cf", "../whole.tar", "album")
    members, error = listed(str(tmp_path / "whole.tar"))
    assert error is None
    assert [member.kind for member in members] == ["directory"] + ["file"] * len(PHOTOS)
    packed(folder, "tar", "-M", "-L", "150", "-cf", "../1.tar", "-f", "../2.tar", "album")
    found: dict[str, bytes | str] = {}
    for name in ("1.tar", "2.tar"):
        members, error = listed(str(tmp_path / name))
        read = contents(str(tmp_path / name), [member for member in members if member.kind == "file"])
        assert "".join(map(str, (set(read.values()) & {"member_unreadable", "archive_truncated"})))
        found |= {path: data for path, data in read.items() if isinstance(data, bytes)}
    cut = PHOTOS.keys() - found.keys()
    assert len(cut) == 1
    assert found == {path: data for path, data in PHOTOS.items() if path not in cut}
