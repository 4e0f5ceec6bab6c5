"""Sources that name the same files: each file has one row, and a note says what was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.limits import Limits
from pipeline.index.build import IndexSummary, build_index
from pipeline.index.sources import expand
from pipeline.manifest import query
from tests.support.archives import put, tar_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg"):
        put(str(tmp_path / "scans"), name, name.encode())
    put(str(tmp_path / "scans"), "t.tar", tar_bytes({"d.jpg": b"d"}))
    (tmp_path / "link").symlink_to("scans")
    return tmp_path


def indexed(folder: Path, *sources: str) -> tuple[IndexSummary, list[str]]:
    """The index after one more call, and what it said."""
    output, said = str(folder / "out"), list[str]()
    found = expand([str(folder / source) for source in sources], output, said.append)
    summary = build_index(found, output, Limits())
    return summary, [*said, *summary.notes]


def members(folder: Path) -> list[str]:
    """Every file of the index, by its path below the folder, sorted: twice if it has two rows."""
    with query.connect(str(folder / "out")) as connection:
        rows = query.run(connection, "SELECT source, member FROM index").to_pylist()
    return sorted(f"{row['source']}/{row['member']}".removeprefix(f"{folder}/") for row in rows)


ALL = ["scans/a.jpg", "scans/sub/b.jpg", "scans/sub/deep/c.jpg", "scans/t.tar/d.jpg"]


@pytest.mark.parametrize(
    ("sources", "twice"),
    [
        (("scans", "scans"), "scans"),
        (("scans", "scans/a.jpg"), "scans/a.jpg"),
        (("scans/sub/b.jpg", "scans"), "scans/sub/b.jpg"),
        (("scans", "scans/sub"), "scans/sub"),
        (("scans", "scans/t.tar"), "scans/t.tar"),
        (("scans", "link"), "link"),
        (("scans", "link/sub/b.jpg", "scans/./a.jpg"), "link/sub/b.jpg and 1 more"),
    ],
)
def test_what_is_named_twice_is_indexed_once(folder: Path, sources: tuple[str, ...], twice: str) -> None:
    _, said = indexed(folder, *sources)
    assert said == [f"named more than once, and indexed once: {folder}/{twice}"]
    assert members(folder) == ALL
    assert indexed(folder, "scans")[1] == []


def test_a_folder_below_one_that_is_indexed_adds_nothing(folder: Path) -> None:
    indexed(folder, "scans")
    for source in ("scans/sub", "scans/sub/b.jpg"):
        _, (said,) = indexed(folder, source)
        assert said.startswith(f"already indexed, in {folder}/scans: {folder}/scans/sub")
    assert members(folder) == ALL


def test_a_folder_above_one_that_is_indexed_leaves_it_out_and_its_new_files_are_found(folder: Path) -> None:
    indexed(folder, "scans/sub")
    _, said = indexed(folder, "scans")
    assert said == [f"already indexed by itself, and left out of {folder}/scans: {folder}/scans/sub"]
    assert members(folder) == ALL
    put(str(folder / "scans"), "sub/deep/e.jpg", b"new")
    summary, _ = indexed(folder, "scans")
    assert members(folder) == sorted([*ALL, "scans/sub/deep/e.jpg"])
    assert (summary.changed, summary.gone) == ((), ())


def test_files_that_are_gone_are_told_and_only_they(folder: Path) -> None:
    indexed(folder, "scans")
    assert indexed(folder, "scans")[0].gone == ()
    (folder / "scans/sub/b.jpg").unlink()
    assert indexed(folder, "scans")[0].gone == ((f"{folder}/scans", "sub/b.jpg"),)
    assert indexed(folder, "scans/a.jpg")[0].gone == ()  # the folder was not listed
    assert members(folder) == ALL
