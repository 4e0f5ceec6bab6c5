"""A file that changed since it was indexed is pending again, and the row says why."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.index import index_line
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.config.settings import Settings
from pipeline.index.build import IndexSummary
from pipeline.index.sources import expand
from pipeline.manifest import compaction, query
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from pipeline.run import attempt, lease, prepare
from pipeline.run.rescan import scan
from tests.support.pictures import astronaut, coffee, encoded, hopper
from tests.support.rows import pending_rows, result_row

STATES = "SELECT member, status, error_type, sha256 FROM photos ORDER BY member"


def scanned(source: str, output: str) -> IndexSummary:
    return scan(expand([source], output), output, Limits())


def restored(output: str, weights: str) -> None:
    job = prepare.with_dtype(prepare.prepare(output, Settings(weights=weights)), Resources())
    with lease.held(output) as mine:
        list(attempt.restore(job, Resources(), mine, None, math.inf))


def photos(output: str) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = query.reading(output, lambda c: query.run(c, STATES)).to_pylist()
    return found


def test_a_photo_that_was_scanned_again_is_restored_again(tmp_path: Path, tiny_weights: str) -> None:
    folder, output = tmp_path / "scans", str(tmp_path / "out")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encoded(astronaut()))
    (folder / "b.jpg").write_bytes(encoded(coffee()))
    scanned(str(folder), output)
    restored(output, tiny_weights)
    first = photos(output)
    assert [row["status"] for row in first] == ["restored", "no_face"]

    (folder / "a.jpg").write_bytes(encoded(hopper()))
    assert [one.member for one in scanned(str(folder), output).changed] == ["a.jpg"]
    assert list(Path(output, "restored").rglob("*.jpg")) == []  # the former person's face is in no file any more
    assert photos(output)[0] == {"member": "a.jpg", "status": "pending", "error_type": "source_changed", "sha256": None}
    found = counts(output)
    assert (found.indexed, found.pending, found.no_face, found.adds_up) == (2, 1, 1, True)
    assert pending_rows(output)["member"].to_pylist() == ["a.jpg"]
    assert pending_rows(output, "member = 'a.jpg'")["bytes"].to_pylist() == [(folder / "a.jpg").stat().st_size]
    compaction.compact(output)
    assert counts(output) == found

    restored(output, tiny_weights)
    second = photos(output)
    assert [row["status"] for row in second] == ["restored", "no_face"]
    assert second[0]["sha256"] != first[0]["sha256"]
    assert second[1] == first[1]
    assert scanned(str(folder), output).changed == ()
    assert counts(output).pending == 0


@pytest.mark.parametrize("named", ["scans", "scans/*.jpg", "scans/a.jpg"])
def test_however_the_file_was_named(named: str, tmp_path: Path) -> None:
    folder, output = tmp_path / "scans", str(tmp_path / "out")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"one")
    source = str(tmp_path / named)
    assert scanned(source, output).changed == ()
    assert scanned(source, output).changed == ()
    (folder / "a.jpg").write_bytes(b"two")  # as long as before
    os.utime(folder / "a.jpg", (1, 1))  # on file systems that count in seconds, both writes may have one time
    (changed,) = scanned(source, output).changed
    assert (changed.member, changed.bytes) == ("a.jpg", 3)
    assert scanned(source, output).changed == ()
    assert counts(output).indexed == 1


def test_a_start_that_was_killed_between_manifest_and_index_does_both_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, output = tmp_path / "scans", str(tmp_path / "out")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"one")
    scanned(str(folder), output)
    (folder / "a.jpg").write_bytes(b"longer")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipeline.index.changed.write_renewed", killed)
        scanned(str(folder), output)
    assert len(scanned(str(folder), output).changed) == 1
    assert scanned(str(folder), output).changed == ()
    assert (counts(output).indexed, counts(output).pending) == (1, 1)


def test_a_photo_that_was_deleted_is_told_if_it_has_a_result(tmp_path: Path) -> None:
    folder, output = tmp_path / "scans", str(tmp_path / "out")
    folder.mkdir()
    for name in ("done.jpg", "open.jpg"):
        (folder / name).write_bytes(b"x")
    scanned(str(folder), output)
    with query.connect(output) as connection:
        (photo,) = query.run(connection, "SELECT photo_id, source FROM index WHERE member = 'done.jpg'").to_pylist()
    write_part([result_row("done.jpg", **photo)], output, "1")
    for name in ("done.jpg", "open.jpg"):
        (folder / name).unlink()
    (folder / "other.jpg").write_bytes(b"x")
    summary = scanned(str(folder), output)
    assert summary.gone == ((str(folder), "done.jpg"),)
    assert index_line(summary).endswith("; no longer in their source, though with a result: 1")


def test_an_index_of_an_earlier_release_knows_no_versions(tmp_path: Path) -> None:
    folder, output = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"one")
    scanned(str(folder), str(output))
    (file,) = (output / "index").glob("*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["member_version"]), file)
    (folder / "a.jpg").write_bytes(b"longer")
    assert scanned(str(folder), str(output)).changed == ()
    assert counts(str(output)).indexed == 1
