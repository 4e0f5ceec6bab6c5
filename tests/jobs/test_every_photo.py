"""`interlcm restore --every-photo --names source`: a folder that is complete, and named like its source."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.manifest import query
from tests.support.archives import tar_bytes
from tests.support.command import Interlcm
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side

FACELESS = encoded(coffee(), "PNG")
PHOTOS = {
    "box/hopper.jpg": encoded(hopper()),
    "box/Coffee.PNG": FACELESS,
    "coffee": FACELESS,  # an image without an ending
    "page.pdf": b"%PDF-1.7\n",
    "broken.jpg": encoded(hopper())[:900],
}


def rows(output: Path) -> dict[str, dict[str, Any]]:
    with query.connect(str(output)) as connection:
        found = query.run(connection, "SELECT member, status, restored_uri, restored_sha256 FROM photos").to_pylist()
    return {row["member"]: row for row in found}


def files(output: Path) -> dict[str, bytes]:
    folder = output / "restored"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_complete_and_keeps_its_names(interlcm: Interlcm, tmp_path: Path, tiny_weights: str) -> None:
    source, output = tmp_path / "scans", tmp_path / "out"
    for name, data in PHOTOS.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    command = ("restore", str(source), "--output", str(output), "--weights", tiny_weights, "--detector", "haar")
    both = ("--every-photo", "link", "--names", "source")
    assert interlcm(*command, *both) == 0
    made, found = files(output), rows(output)
    (marked,) = made.keys() - {"scans/box/hopper.jpg", "scans/box/Coffee.PNG"}
    assert marked.startswith("scans/coffee.\u201b-") and marked.endswith(".png")  # coffee.png may be another photo
    assert made["scans/box/Coffee.PNG"] == made[marked] == FACELESS
    assert os.path.samefile(output / "restored/scans/box/Coffee.PNG", source / "box/Coffee.PNG")
    statuses = {"box/hopper.jpg": "restored", "box/Coffee.PNG": "no_face", "coffee": "no_face"}
    assert {name: row["status"] for name, row in found.items()} == statuses | {
        "page.pdf": "skipped",
        "broken.jpg": "failed",
    }
    for name, row in found.items():
        uri = row["restored_uri"]
        assert (uri is not None) == (name in statuses)
        assert uri is None or hashlib.sha256(Path(uri).read_bytes()).hexdigest() == row["restored_sha256"]

    assert interlcm("verify", str(output)) == 0
    assert "restored files: 3 in the manifest, 3 unchanged" in interlcm.out and "note:" not in interlcm.out
    assert interlcm("status", str(output)) == 0
    assert interlcm("report", str(output)) == 0
    assert len(list((output / "report").rglob("after.jpg"))) == 1  # a photo that did not change has nothing to compare

    # An attempt that would name files otherwise could write over them.
    assert interlcm(*command, "--every-photo", "link") == 1
    assert (
        "--names unique: its restored files have source names; give --names source, or another OUTPUT"
        in interlcm.line()
    )
    # A link is never written through: photos that are done again leave their source as it is.
    again = ("--every-photo", "copy", "--names", "source", "--upscale", "2", "--where", "status = 'no_face'")
    assert interlcm(*command, *again) == 0
    assert (source / "box/Coffee.PNG").read_bytes() == FACELESS
    large = decoded(files(output)["scans/box/Coffee.PNG"])
    assert large.shape == (2 * coffee().shape[0], 2 * coffee().shape[1], 3)
    assert np.abs(large[::2, ::2].astype(int) - coffee()).mean() < 8
    assert interlcm("verify", str(output)) == 0


def test_members_of_an_archive_are_copied_as_they_are(interlcm: Interlcm, tmp_path: Path, tiny_weights: str) -> None:
    two = side_by_side(astronaut(), hopper(160))
    (tmp_path / "a.tar").write_bytes(tar_bytes({"none.png": FACELESS, "two.png": encoded(two, "PNG")}))
    output = tmp_path / "out"
    command = ("restore", str(tmp_path / "a.tar"), "--output", str(output), "--weights", tiny_weights)
    assert interlcm(*command, "--detector", "haar", "--every-photo", "link", "--max-face", "25") == 0
    made = files(output)
    assert made["a.tar/none.png.png"] == FACELESS
    assert made["a.tar/two.png.png"] == encoded(two, "PNG")  # all of its faces are larger
    assert [row["status"] for row in rows(output).values()] == ["no_face"] * 2
    assert interlcm("query", str(output), "--warnings", "--format", "json") == 0
    assert "wider than 25 px (--max-face), left as it is" in interlcm.out
    # Restored again in another format: the earlier file goes, and others stay.
    where = "status = 'no_face' AND member = 'two.png'"
    assert interlcm(*command, "--detector", "haar", "--format", "jpeg", "--where", where) == 0
    assert sorted(files(output)) == ["a.tar/none.png.png", "a.tar/two.png.jpg"]
    assert interlcm("verify", str(output)) == 0
    assert "2 unchanged" in interlcm.out and "note:" not in interlcm.out


def test_what_cannot_be_is_refused_before_anything_starts(
    interlcm: Interlcm, tmp_path: Path, tiny_weights: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTOS["box/hopper.jpg"])
    command = ("restore", str(tmp_path / "a.jpg"), "--weights", tiny_weights, "--output")
    assert interlcm(*command, "memory://out", "--every-photo", "link") == 1
    assert interlcm.line() == (
        "--every-photo link: memory:///out is not on a disk of this machine; give --every-photo copy"
    )
    assert interlcm(*command, str(tmp_path / "out"), "--max-face", "20") == 2
    assert "--max-face 20: give more than --min-face, which is 24" in interlcm.line()
