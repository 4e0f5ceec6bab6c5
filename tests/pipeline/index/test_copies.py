"""Copies of small index files: every answer is the same with them, without them, and when they are out of date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.index import build, copies
from pipeline.index.copies import Index, kept
from pipeline.index.sources import Source, expand
from pipeline.manifest import pending as manifest_pending
from pipeline.manifest.counts import counts
from pipeline.manifest.query import connect, run
from pipeline.manifest.write import write_part
from pipeline.run.rescan import scan
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.pictures import encoded, hopper
from tests.support.rows import pending_rows, result_row

ARCHIVES = 7


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "FEW", 2)
    monkeypatch.setattr(copies, "COPY_FILES", 3)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """Archives of two photos; the last tar is cut short, so that its list ends with an error."""
    photo = encoded(hopper())
    uris = [
        put(str(tmp_path), f"{n}.{kind}", pack({f"{n}-{k}.jpg": photo for k in range(2)}))
        for n in range(ARCHIVES)
        for kind, pack in [("zip", zip_bytes) if n % 3 == 0 else ("tar", tar_bytes)]
    ]
    Path(uris[-2]).write_bytes(Path(uris[-2]).read_bytes()[:-10_000])
    return [Source(uri, "archive") for uri in uris]


def answers(output: str) -> list[Any]:
    with connect(output) as connection:
        index = run(connection, "SELECT * FROM index ORDER BY photo_id").to_pylist()
    left = manifest_pending.pending(output)
    indexed = Index.of(output)
    return [index, counts(output), left.units(1).to_pylist(), pending_rows(output).to_pylist(), build.summary(indexed)]


def without(output: str) -> list[Any]:
    file = Path(output, "index.json")
    aside = file.rename(f"{file}.aside")
    found = answers(output)
    aside.rename(file)
    return found


def test_all_answers_are_the_same_with_copies(tmp_path: Path, sources: list[Source]) -> None:
    output = str(tmp_path / "out")
    found = build.build_index(sources, output, Limits())
    assert (found.archives, found.photos, found.errors) == (ARCHIVES, 14, 1)
    index = Index.of(output)
    assert [len(files) for files in index.copies.values()] == [3, 3, 1] and index.single == []
    some = pending_rows(output).slice(1, 5).to_pylist()
    write_part([result_row(row["member"], **{k: row[k] for k in ("photo_id", "source")}) for row in some], output, "1")
    assert answers(output) == without(output)
    assert len(pending_rows(output)) == 15 - 5
    assert build._broken_files(index) == {name for name in index.files if name.startswith("5.tar")}


def test_what_changes_in_the_index_makes_its_copy_void(tmp_path: Path, sources: list[Source]) -> None:
    """A repaired archive is indexed anew at the next start, and copied again with its neighbours."""
    output = str(tmp_path / "out")
    build.build_index(sources, output, Limits())
    before = Index.of(output).copies
    kept(output)
    assert Index.of(output).copies == before
    broken = Path(sources[-2].uri)
    put(str(broken.parent), broken.name, tar_bytes({f"{n}.jpg": encoded(hopper()) for n in range(4)}))
    repaired = build.build_index(sources, output, Limits())
    assert (repaired.photos, repaired.errors) == (16, 0)
    index = Index.of(output)
    assert index.single == [] and len(index.copies) == 3 and set(index.copies) != set(before)
    assert sorted(path.name for path in Path(output, "index.copies").iterdir()) == sorted(index.copies)
    assert answers(output) == without(output)


@pytest.mark.parametrize("lost", ["a copy", "an index file", "the list"])
def test_copies_and_files_may_go(lost: str, tmp_path: Path, sources: list[Source]) -> None:
    output = str(tmp_path / "out")
    build.build_index(sources, output, Limits())
    index = Index.of(output)
    name, files = next(iter(index.copies.items()))
    gone = {"a copy": f"index.copies/{name}", "an index file": f"index/{files[0]}", "the list": "index.json"}[lost]
    rows = answers(output)
    Path(output, gone).unlink()
    if lost == "an index file":
        assert len(answers(output)[0]) == len(rows[0]) - 2
    else:
        assert answers(output) == rows
    build.build_index(sources, output, Limits())
    assert answers(output) == rows


def test_a_damaged_list_is_one_line_and_a_later_one_is_passed_over(tmp_path: Path, sources: list[Source]) -> None:
    output = str(tmp_path / "out")
    build.build_index(sources, output, Limits())
    file = Path(output, "index.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    assert Index.of(output).copies == {}
    file.write_text("[]")
    with pytest.raises(storage.StorageError, match=r"index.json: damaged \(.*\); remove it, and the next start"):
        counts(output)


def test_changed_and_overlapping_folders_with_copies(tmp_path: Path) -> None:
    """A renewed index file is copied again at the same start. A folder above others finds them in the copies."""
    output, folders = str(tmp_path / "out"), [str(tmp_path / "all" / str(n)) for n in range(4)]
    for folder in folders:
        put(folder, "a.jpg", b"first")
    scan(expand(folders, output), output, Limits())
    put(folders[0], "a.jpg", b"the second")
    assert len(scan(expand(folders, output), output, Limits()).changed) == 1
    index = Index.of(output)
    assert index.single == [] and len(index.copies) == 2
    put(str(tmp_path / "all"), "b.jpg", b"b")
    found = scan(expand([str(tmp_path / "all")], output), output, Limits())
    assert (found.photos, len(found.notes)) == (5, 4)
