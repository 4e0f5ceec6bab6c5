"""Archives by the programs that people pack with: GNU tar, Info-ZIP, 7-Zip, pzstd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.archives import PHOTOS, contents, listed, loose
from tests.support.exiftool import needed


def packed(folder: Path, program: str, *words: str, package: str = "") -> None:
    """Run a packer in a folder; the test is skipped without it."""
    needed(program, package or program)
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
    packed(tmp_path, "7z", "a", "b.zip", *names, package="p7zip-full")
    for archive in ("a.zip", "b.zip"):
        members, error = listed(str(tmp_path / archive))
        assert error is None
        assert contents(str(tmp_path / archive), members) == {name: name.encode() for name in names}
