"""Names of restored files: no two photos of an archive share one, and none needs the name of a folder."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.archives.names import escape_name, folded_path
from pipeline.index.schema import page_id, photo_id
from pipeline.stages.names import NAMES, restored_path
from pipeline.stages.row import Row
from tests.support.archives import put
from tests.support.stages import indexed, photo_row

# A few names that are near to each other: with and without endings, in other cases and Unicode forms. So that many of
# them meet, there are few.
NAMES_NEAR = [f"x{ending}" for ending in ("", ".jpg", ".png", ".jpg.jpg", ".png.jpg", ".JPG", ".jpeg", ".jpg ", ".nef")]
ODD = ["X", "x.", ".jpg", "e\u0301.jpg", "\u00e9.jpg", "\u201b-.jpg", "x.\u201b-.jpg", f"{'y' * 250}.jpg", "y" * 254]
PARTS = st.sampled_from([*NAMES_NEAR * 4, *ODD])
PATHS = st.sampled_from([1, 1, 1, 2]).flatmap(lambda depth: st.tuples(*[PARTS] * depth)).map("/".join)
MEMBERS = st.tuples(PATHS, st.sampled_from(["jpeg"] * 4 + ["png", "heic"]), st.sampled_from([1, 1, 1, 2]))


def rows_of(members: list[tuple[str, str, int]]) -> list[tuple[Row, str]]:
    """The rows of an archive's members (name, format of the output, pages) with the format, as index and detect make
    them."""
    seen: Counter[str] = Counter()
    found = []
    for name, format, pages in members:
        member = escape_name(name)
        place = folded_path(member)
        root = photo_id("a.tar", member, seen[place])
        common: dict[str, Any] = {"archive_name": "a.tar", "member": member, "occurrence": seen[place], "pages": pages}
        found += [({**common, "page": n, "photo_id": page_id(root, n)}, format) for n in range(1, pages + 1)]
        seen[place] += 1
    return found


@pytest.mark.parametrize("names", NAMES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(members=st.lists(MEMBERS, min_size=8, max_size=16))
def test_no_two_photos_and_no_folder_share_a_name(names: str, members: list[tuple[str, str, int]]) -> None:
    """Where case and Unicode forms do not count, too. Output formats are arbitrary: a run may change them."""
    paths = [folded_path(restored_path(row, format, names)) for row, format in rows_of(members)]
    assert len(set(paths)) == len(paths)
    folders = {str(above) for path in paths for above in Path(path).parents}
    assert not folders & set(paths)


@pytest.mark.parametrize(
    ("member", "format", "path"),
    [
        ("x.jpg", "jpeg", "x.jpg"),
        ("box/X.JPEG", "jpeg", "box/X.JPEG"),
        ("x.tiff", "tiff", "x.tiff"),
        ("x.png", "jpeg", "x.png.jpg"),
        ("x.jpg", "png", "x.jpg.png"),  # a PNG that is named .jpg
        ("x.png.jpg", "jpeg", "x.png.jpg.jpg"),  # x.png may become x.png.jpg
        ("scan.1927.jpg", "jpeg", "scan.1927.jpg"),
        ("x.heic", "heic", "x.heic"),
        ("x", "jpeg", "x.\u201b-ID.jpg"),  # x.jpg may be another photo
        ("x.jpg ", "jpeg", "x.jpg .jpg"),
        ("x.nef", "jpeg", "x.nef.jpg"),
    ],
)
def test_the_names_of_the_source(member: str, format: str, path: str) -> None:
    ((row, _),) = rows_of([(member, format, 1)])
    assert restored_path({**row, "photo_id": "ID"}, format, "source") == f"a.tar/{path}"


def test_a_repetition_and_a_page_are_not_named_like_the_source() -> None:
    rows = rows_of([("x.tif", "tiff", 1), ("X.tif", "tiff", 1), ("y.tif", "tiff", 2)])
    paths = [restored_path(row, format, "source") for row, format in rows]
    assert [paths[0], paths[2]] == ["a.tar/x.tif", "a.tar/y.tif.tif"]
    assert all("\u201b-" in path for path in (paths[1], paths[3]))


def test_restored_names_never_meet(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a.png",
        "a",
        "a.jpg.jpg",
        "box/a.jpg",
        "box/a",
        "box.jpg/a",
        "./a.jpg",
        "box//a.jpg",
        "ä.jpg",
    ]
    names += ["a.jpg", "box/./a.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    table = indexed(tmp_path / "a.tar", tmp_path / "out")
    assert table["member"].to_pylist() == names
    paths = [restored_path({**made, "page": 1, "pages": 1}, "jpeg") for made in table.to_pylist()]
    assert len(set(paths)) == len(paths)
    assert all("//" not in path and "/./" not in path and path.startswith("a.tar/") for path in paths)
    assert paths[:3] == ["a.tar/a.jpg.jpg", "a.tar/a.png.jpg", "a.tar/a.jpg"]
    assert paths[6] == "a.tar/box.jpg\u201b-/a.jpg"  # a member `box` would become box.jpg


def test_a_page_has_a_file_of_its_own() -> None:
    page: Row = {
        "archive_name": "a.tar",
        "member": "box/a.tif",
        "occurrence": 0,
        "page": 1,
        "pages": 2,
        "photo_id": photo_id("a.tar", "a", 0),
    }
    assert restored_path(page, "tiff") == "a.tar/box/a.tif.tif"
    second = {**page, "page": 2, "photo_id": page["photo_id"] + "-p2"}
    assert restored_path(second, "tiff") == f"a.tar/box/a.tif.\u201b-{page['photo_id']}-p2.tif"


@pytest.mark.parametrize("ending", ["", "-p2"])
def test_no_member_can_be_named_like_a_repetition_or_a_page(tmp_path: Path, ending: str) -> None:
    again = photo_id(str(tmp_path / "a.tar"), "a.jpg", 1) + ending
    names = ["a.jpg", "a.jpg", f"a.jpg.{again}", f"a.jpg.\u201b-{again}", f"a.jpg.\u201b{again}"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    table = indexed(tmp_path / "a.tar", tmp_path / "out").to_pylist()
    rows = [{**made, "page": 1, "pages": 1} for made in table]
    rows.append({**table[1], "page": 2, "pages": 2, "photo_id": again})
    paths = [restored_path(made, "jpeg") for made in rows]
    assert len(set(paths)) == len(paths) - (ending == "")  # without it the last row is the second again


@pytest.mark.parametrize(
    "member",
    ["\u3042" * 83 + ".jpg", "\u3042" * 90, "x" * 255 + "/" + "y" * 250 + ".jpg", "/".join(["\u3042" * 60] * 9)],
)
def test_a_long_name_fits_a_disk_and_an_object_store(member: str, tmp_path: Path) -> None:
    """Names that Windows and zips allow: there a kana character counts as one, on Linux as three bytes."""
    made: Row = {"archive_name": "a.tar", "member": member, "occurrence": 1, "page": 1, "pages": 1}
    made["photo_id"] = "0" * 20
    paths = {restored_path({**made, "member": name}, "jpeg") for name in (member, member + "z")}
    assert len(paths) == 2
    for path in paths:
        assert len(path.encode()) < 900 and all(len(part.encode()) <= 255 for part in path.split("/"))
        put(str(tmp_path), path, b"x")
    short = "\u3042" * 70
    assert restored_path({**made, "member": short}, "jpeg") == f"a.tar/{short}.\u201b-{'0' * 20}.jpg"


@pytest.mark.parametrize("folder", ["x.jpg.jpg", "X.JPG.JPG", "x.jpg.jpg/y.png.png", "x.jpg.jpg."])
def test_no_folder_needs_the_name_of_a_restored_file(folder: str, tmp_path: Path) -> None:
    """On a disk, where one name is a file or a folder; the case of letters may not count there."""
    members = ["x.jpg", f"{folder}/a.jpg", "x.jpg.jpg/y.png"]
    rows = [photo_row(member, b"") | {"archive_name": "in"} for member in dict.fromkeys(members)]
    paths = [restored_path(row, "png" if row["member"].endswith("png") else "jpeg") for row in rows]
    files = {path.casefold() for path in paths}
    above = {str(place).casefold() for path in paths for place in Path(path).parents}
    assert len(files) == len(rows) and not files & above
    for path in paths:
        storage.write_bytes(str(tmp_path / path), b"restored")
    assert restored_path(photo_row("1927.05/a.jpg", b""), "jpeg") == "a.tar/1927.05/a.jpg.jpg"
