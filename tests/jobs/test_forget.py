"""`interlcm forget`: nothing of a photo is left in any file of OUTPUT, and it never comes back."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.index import removed as index_removed
from pipeline.manifest import compaction, erase, query
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.run import forget
from tests.support.archives import tar_bytes
from tests.support.command import Interlcm
from tests.support.pictures import astronaut, coffee, encoded, hopper

NAME, REASON = "Smith family", "takedown 2026-114"
WHERE = ("--where", f"member LIKE '{NAME}%'")


def restore(source: Path, output: Path, weights: str) -> tuple[str, ...]:
    words = ("restore", str(source), str(source.parent / "box.tar"), "--output", str(output), "--weights", weights)
    return (*words, "--detector", "haar", "--save-faces", "--every-photo", "copy", "--engine", "here")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str) -> tuple[Path, Path]:
    """A run and its source: a folder with the photos of a family, one of them with two pages, and an archive."""
    from jobs.__main__ import main

    folder = tmp_path_factory.mktemp("run")
    source, output = folder / "scans", folder / "out"
    (source / NAME).mkdir(parents=True)
    (source / NAME / "anna.jpg").write_bytes(encoded(hopper()))
    pages = [Image.fromarray(one) for one in (astronaut(), coffee())]
    pages[0].save(source / NAME / "album.tif", save_all=True, append_images=pages[1:])
    (source / "other.jpg").write_bytes(encoded(astronaut()))
    (folder / "box.tar").write_bytes(tar_bytes({f"{NAME}/x.png": encoded(hopper(), "PNG"), "y.png": encoded(coffee())}))
    for words in (restore(source, output, tiny_weights), ("report", str(output))):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert not ended.value.code
    compaction.compact(str(output))
    with query.connect(str(output)) as connection:
        ids = query.run(connection, "SELECT photo_id FROM photos")["photo_id"].to_pylist()
    said = [
        {"photo_id": one, "face_index": "", "decision": "reject", "comment": f"of {one}", "decided_at": "2026-01-01"}
        for one in ids
    ]
    (output / "decisions").mkdir()
    (output / "decisions" / "a.json").write_text(json.dumps(said))
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(said[0]))
    writer.writeheader()
    writer.writerows(said)
    (output / "decisions" / "b.csv").write_text(sink.getvalue())
    orphan = output / "restored" / "scans" / NAME / "anna.jpg.png"
    orphan.write_bytes(b"of a worker that was killed before its row")
    return source, output


@pytest.fixture
def copy(run: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(run[1], tmp_path / "out")
    return tmp_path / "out"


def marks(output: Path) -> set[bytes]:
    """What tells of the photos: their names, the digests of their files, and measures of their faces."""
    with query.connect(str(output)) as connection:
        rows = query.run(connection, f"FROM photos WHERE member LIKE '{NAME}%'").to_pylist()
        faces = query.run(connection, f"SELECT seed, psnr FROM faces WHERE member LIKE '{NAME}%'").to_pylist()
    assert len(rows) == 4 and len(faces) == 3
    texts = {NAME, "anna", "album", *(row[key] for row in rows for key in ("sha256", "restored_sha256") if row[key])}
    return {text.encode() for text in texts | {str(value) for face in faces for value in face.values()}}


def everything(output: Path) -> bytes:
    """Names and contents of all files and folders of OUTPUT, tables also decoded."""
    parts = []
    for path in sorted(output.rglob("*")):
        parts.append(str(path.relative_to(output)).encode())
        if path.is_file():
            parts.append(path.read_bytes())
        if path.suffix == ".parquet":
            parts.append(repr(pq.read_table(path).to_pylist()).encode())
            parts.append(repr(pq.read_metadata(path).to_dict()).encode())
    return b"\n".join(parts)


def left(output: Path, found: set[bytes]) -> list[bytes]:
    whole = everything(output)
    return sorted(mark for mark in found if mark in whole)


def rows(output: Path) -> list[dict[str, Any]]:
    with query.connect(str(output)) as connection:
        return query.run(connection, "FROM manifest ORDER BY photo_id").to_pylist()


def test_nothing_of_a_photo_is_left(interlcm: Interlcm, run: tuple[Path, Path], copy: Path, tiny_weights: str) -> None:
    source, found = run[0], marks(copy)
    assert left(copy, found) == sorted(found)
    before = everything(copy)
    assert interlcm("forget", str(copy), *WHERE, "--dry-run") == 0
    assert f"{source}: {NAME}/anna.jpg" in interlcm.out and "to remove: 4 photos in 3 members" in interlcm.out
    assert everything(copy) == before
    assert interlcm("forget", str(copy), *WHERE, "--reason", REASON) == 0
    assert (
        interlcm.out.startswith("removed: 4 photos in 3 members, ") and "the report's pages among them" in interlcm.out
    )
    assert left(copy, found) == []

    removed = [row for row in rows(copy) if row["status"] == "removed"]
    assert len(removed) == 3 and {(row["member"], row["error"]) for row in removed} == {("", REASON)}
    assert all(row["finished_at"] and not row["faces"] and row["restored_uri"] is None for row in removed)
    ids = [row["photo_id"] for row in removed]
    assert len(rows(copy)) == 5  # the two others have their one row
    spreadsheet = csv.DictReader(io.StringIO((copy / "decisions/b.csv").read_text()))
    for decided in (json.loads((copy / "decisions/a.json").read_text()), list(spreadsheet)):
        assert len(decided) == 2 and not {one["photo_id"] for one in decided} & set(ids)

    assert interlcm("status", str(copy)) == 0
    assert interlcm.out.splitlines()[0].split()[-3:] == ["removed", "+", "pending"]
    assert interlcm("verify", str(copy)) == 0
    assert "note:" not in interlcm.out
    assert interlcm("report", str(copy)) == 0
    assert len(list((copy / "report/pictures").rglob("thumbnail.jpg"))) == 2
    # Starting it again lists folder and archive again, and neither brings a name nor a photo back.
    assert interlcm(*restore(source, copy, tiny_weights)) == 0
    assert "nothing to do" in interlcm.out
    assert interlcm(*restore(source, copy, tiny_weights), "--where", "status = 'removed' OR status = 'failed'") == 0
    assert left(copy, found) == []
    assert len(pending(str(copy))) == 0 and counts(str(copy)).adds_up
    assert interlcm("forget", str(copy), *WHERE) == 0
    assert interlcm.out == "removed: 0 photos, 0 files\n" and "no photo of the run matches --where" in interlcm.err

    # A reviewer had the page open, and exports a word on a removed photo afterwards.
    late = {"photo_id": ids[0], "face_index": 0, "decision": "reject", "comment": "Anna S.", "decided_at": "2026-05-01"}
    (copy / "decisions/late.json").write_text(json.dumps([late]))
    assert interlcm("report", str(copy)) == 0
    assert not any(b"Anna S." in path.read_bytes() for path in (copy / "report/data").iterdir())
    assert interlcm("forget", str(copy), "--where", "false") == 0
    assert interlcm.out.startswith("removed: 1 photo") and left(copy, {b"Anna S.", ids[0].encode()}) == [
        ids[0].encode()
    ]


def test_photos_that_were_set_aside_leave_no_folder(interlcm: Interlcm, copy: Path) -> None:
    """A spreadsheet may leave blank lines and more cells than columns. Tables for ingest in OUTPUT are named."""
    found = marks(copy)
    file, late = copy / "decisions/b.csv", (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    file.write_text(file.read_text().replace("2026-01-01\n", f"{late},,\n\n"))
    (copy / "decisions/c.csv").write_text("photo_id,face_index,decision,comment,decided_at\n")
    assert interlcm("decide", str(copy)) == 0
    # Four restored photos and two copies of photos without a face.
    assert list((copy / "withdrawn").rglob("*.jpg")) and counts(str(copy)).withdrawn == 6
    assert interlcm("export", "csv", str(copy), "--for", "islandora", "--to", str(copy)) == 0
    assert interlcm("forget", str(copy), *WHERE) == 0
    assert f"not of the run, and not looked at: {copy}/islandora.csv" in interlcm.err
    (copy / "islandora.csv").unlink()
    assert left(copy, found) == [] and len(rows(copy)) > 3 and counts(str(copy)).adds_up


STEPS = {
    "files": (forget, "remove_restored"),
    "crops": (forget, "remove_by_id"),
    "report": (forget, "remove_report"),
    "decisions": (erase, "erase_decisions"),
    "blank rows": (forget, "blank_rows"),
    "rows": (erase, "erase_rows"),
    "index": (index_removed, "erase"),
    "after all": (compaction, "compact"),
}


def test_killed_at_every_step_in_turn_the_same_command_ends_it(
    interlcm: Interlcm, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start does again what those before it did, and comes as far as the next step."""
    found, reason = marks(copy), ["--reason", REASON]

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for step, (module, name) in STEPS.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            assert interlcm("forget", str(copy), *WHERE, *reason) == 130, step
        # What is half removed is not restored again, whatever is left of it.
        kept = counts(str(copy))
        assert (len(pending(str(copy))), kept.removed, kept.adds_up) == (0, 3, True), step
        reason = []  # it is written down
    assert interlcm("forget", str(copy), *WHERE) == 0
    assert left(copy, found) == []
    assert {row["error"] for row in rows(copy) if row["status"] == "removed"} == {REASON}
    assert len(rows(copy)) == 5


def test_an_archive_that_is_listed_again_brings_no_name_back(
    interlcm: Interlcm, tmp_path: Path, tiny_weights: str
) -> None:
    """A truncated archive is listed again at each start."""
    whole = tar_bytes({f"{NAME}/a.txt": b"a", f"{NAME}/A.txt": b"A", "c.txt": bytes(2000)})
    (tmp_path / "in.tar").write_bytes(whole[: 3 * 1024 + 512])
    command = ("index", str(tmp_path / "in.tar"), "--output", str(tmp_path / "out"))
    assert interlcm(*command) == 0
    with query.connect(str(tmp_path / "out")) as connection:
        assert query.run(connection, "SELECT count(*) AS n FROM index WHERE kind = 'archive'")["n"].to_pylist() == [1]
    assert interlcm("forget", str(tmp_path / "out"), "--where", f"member = '{NAME}/a.txt'") == 0
    for size in (len(whole), 512, len(whole)):
        (tmp_path / "in.tar").write_bytes(whole[:size])
        assert interlcm(*command) == 0
        assert f"{NAME}/a.txt".encode() not in everything(tmp_path / "out")
    with query.connect(str(tmp_path / "out")) as connection:
        found = query.run(connection, "SELECT member, kind FROM index ORDER BY member, kind").to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("", "removed"),
        (f"{NAME}/A.txt", "file"),
        ("c.txt", "file"),
    ]


def test_names_in_other_case_and_repeated_members_do_not_come_back(interlcm: Interlcm, tmp_path: Path) -> None:
    """Listed again, each keeps the place among its like that it had, whichever of them are gone."""
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    (scans / "smith.txt").write_bytes(b"1")
    assert interlcm("index", str(scans), "--output", str(output)) == 0
    (scans / "Smith.txt").write_bytes(b"2")  # listed before the one that was indexed before
    whole = tar_bytes({"x.txt": b"first"})[:1024] + tar_bytes({"x.txt": b"second", "c.txt": bytes(2000)})
    (tmp_path / "in.tar").write_bytes(whole[: 5 * 512 + 1000])  # a broken archive is listed again at each start
    both = ("index", str(scans), str(tmp_path / "in.tar"), "--output", str(output))
    assert interlcm(*both) == 0
    where = "source LIKE '%scans' OR (member = 'x.txt' AND occurrence = 0)"
    assert interlcm("forget", str(output), "--where", where) == 0
    sql = "SELECT photo_id, member, occurrence FROM index WHERE kind = 'file' ORDER BY ALL"
    with query.connect(str(output)) as connection:
        before = query.run(connection, sql).to_pylist()
    assert ("x.txt", 1) in [(row["member"], row["occurrence"]) for row in before]
    assert interlcm(*both) == 0
    with query.connect(str(output)) as connection:
        assert query.run(connection, sql).to_pylist() == before
    assert b"mith.txt" not in everything(output)


def test_a_condition_that_cannot_be_is_refused(interlcm: Interlcm, copy: Path) -> None:
    assert interlcm("forget", str(copy), "--where", "nonsense = 1") == 2
    assert "--where: " in interlcm.line()
    assert interlcm("forget", str(copy / "nowhere"), *WHERE) == 1
    assert "no run there" in interlcm.line()
