"""BagIt bags, made by the Library of Congress's bagit."""

from __future__ import annotations

import shutil
from pathlib import Path

import bagit
import pytest

from pipeline.config.limits import Limits
from pipeline.index.build import IndexSummary
from pipeline.index.sources import expand
from pipeline.run.rescan import scan
from pipeline.stages.fetch import read_members, started
from tests.support.archives import PHOTOS, index_rows, loose, put, zip_bytes


def outcomes(output: Path) -> dict[str, bytes | str]:
    """Bytes, or error_type, of each row of the index; `index` has one folder."""
    found: dict[str, bytes | str] = {}
    for index_row in index_rows(output):
        row = started(index_row)
        row = next(read_members([index_row], Limits())) if row["status"] is None else row
        found[index_row["member"]] = row["error_type"] if row["status"] else row["data"]
    return found


def indexed(source: Path, output: Path) -> IndexSummary:
    return scan(expand([str(source)], str(output)), str(output), Limits())


@pytest.mark.parametrize("root", ["", "boxes/box 1/"])
def test_a_bag_is_its_payload_with_checksums(root: str, tmp_path: Path) -> None:
    bag = tmp_path / "in" / root
    loose(bag)
    put(str(bag), "box.zip", zip_bytes({}))  # a source of its own
    odd = {"100%\nsure.jpg": b"odd name", "a%25b.jpg": b"spelled as it is", "c%0Ad.jpg": b"this one too"}
    for name, data in odd.items():
        put(str(bag), name, data)
    bagit.make_bag(str(bag), checksums=["sha256", "md5"])
    put(str(bag), "thumbnail.jpg", b"a tag file")
    indexed(tmp_path / "in", tmp_path / "out")
    expected = {f"{root}data/{name}": data for name, data in {**PHOTOS, **odd}.items()}
    assert outcomes(tmp_path / "out") == expected
    assert all(row["checksum"].startswith("sha256:") for row in index_rows(tmp_path / "out"))


def test_what_differs_from_the_manifest_or_is_not_there_is_a_row(tmp_path: Path) -> None:
    bag, output = tmp_path / "in", tmp_path / "out"
    loose(bag)
    bagit.make_bag(str(bag), checksums=["md5"])
    put(str(bag), "data/album/01.jpg", PHOTOS["album/02.jpg"])
    shutil.move(bag / "data/album/03.jpg", tmp_path / "kept")
    put(str(bag), "data/new.jpg", b"not in the manifest")
    indexed(bag, output)
    expected: dict[str, bytes | str] = {f"data/{name}": data for name, data in PHOTOS.items()}
    wrong = {"data/album/01.jpg": "checksum_mismatch", "data/album/03.jpg": "missing_file"}
    assert outcomes(output) == expected | {"data/new.jpg": b"not in the manifest"} | wrong
    assert indexed(bag, output).changed == ()
    shutil.move(tmp_path / "kept", bag / "data/album/03.jpg")
    assert [one.member for one in indexed(bag, output).changed] == ["data/album/03.jpg"]
    assert outcomes(output)["data/album/03.jpg"] == PHOTOS["album/03.jpg"]
