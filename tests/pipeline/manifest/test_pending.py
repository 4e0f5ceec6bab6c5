from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pipeline import storage
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.units import Pending
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import left, pending
from pipeline.manifest.query import QueryError
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA, SCHEMA_VERSION
from pipeline.manifest.write import write_part
from tests.support.rows import face, index_row, pending_rows, result_row, write_index, write_old_part


@pytest.fixture
def output(tmp_path: Path) -> str:
    """A run of five members, in two index files, without results."""
    uri = str(tmp_path / "out")
    write_index(uri, [index_row("a.jpg"), index_row("b.jpg", offset=2048), index_row("c.jpg", offset=4096)], "a")
    rows = [index_row("d.jpg", source="b.zip"), index_row("", source="c.tar", error_type="archive_truncated")]
    write_index(uri, rows, "b")
    return uri


def members(output: str, where: str | None = None) -> list[str]:
    return pending_rows(output, where)["member"].to_pylist()


def test_a_part_holds_the_rows_in_the_schema_of_the_manifest(tmp_path: Path) -> None:
    row = result_row("a.jpg", faces=[face(0, psnr=31.5), face(1)], face_count=2, bit_depth=16)
    part = write_part([row], str(tmp_path), "attempt")
    table = pyarrow.parquet.read_table(part)
    assert table.schema.equals(MANIFEST_SCHEMA, check_metadata=True)
    read = table.to_pylist()[0]
    assert {name: read[name] for name in ("photo_id", "status", "bit_depth", "finished_at")} == {
        name: row[name] for name in ("photo_id", "status", "bit_depth", "finished_at")
    }
    assert read["faces"][0]["psnr"] == 31.5
    assert read["faces"][1]["landmarks"][4] == [4, 4]
    assert read["restored_uri"] is None


def test_the_name_of_a_part_comes_from_attempt_and_photos(tmp_path: Path) -> None:
    rows = [result_row("a.jpg"), result_row("b.jpg")]
    part = write_part(rows, str(tmp_path), "1")
    digest = hashlib.sha256(b"1\0id-a.jpg\0id-b.jpg").hexdigest()[:20]
    assert part == storage.join(str(tmp_path), "manifest", f"part-{digest}.parquet")
    assert write_part([row | {"status": "failed"} for row in rows], str(tmp_path), "1") == part  # a retry, over itself
    assert write_part(rows, str(tmp_path), "2") != part
    assert write_part(rows[:1], str(tmp_path), "1") != part
    assert len(storage.list_files(storage.join(str(tmp_path), "manifest"))) == 3


def test_a_photo_whose_archive_could_not_be_read_is_tried_again(output: str) -> None:
    failed = {"status": "failed", "error_type": "archive_unreadable"}
    rows = [result_row("a.jpg") | failed, result_row("b.jpg") | failed | {"error_type": "decode_error"}]
    write_part([*rows, result_row("") | failed], output, "1")
    assert members(output) == ["a.jpg", "c.jpg", "d.jpg"]
    assert members(output, "member LIKE '_.jpg'") == ["c.jpg", "d.jpg"]
    assert counts(output).pending == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([result_row("a", colour="red")], "not in the manifest's schema: colour"),
        ([result_row("a", photo_id=None)], "needs photo_id"),
        ([result_row("a", finished_at=None, source=None)], "needs source, finished_at"),
        ([result_row("a", "done")], "status 'done' of photo id-a"),
    ],
)
def test_rows_that_no_manifest_may_hold(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_part(rows, str(tmp_path), "1")
    assert not storage.exists(storage.join(str(tmp_path), "manifest"))


def test_every_column_says_what_it_means() -> None:
    for column in [*MANIFEST_SCHEMA, *FACE]:
        assert column.metadata[b"description"], column.name
        assert b"unit" in column.metadata


def test_pending_is_the_index_without_the_manifest_in_the_order_of_the_archives(output: str) -> None:
    table = pending_rows(output)
    assert table.schema.equals(INDEX_SCHEMA, check_metadata=True)
    assert table["member"].to_pylist() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", ""]
    assert table["error_type"].to_pylist()[-1] == "archive_truncated"
    write_part([result_row("b.jpg"), result_row("d.jpg", "failed")], output, "1")
    assert members(output) == ["a.jpg", "c.jpg", ""]


def test_a_condition_on_the_index_chooses_among_what_has_no_result(output: str) -> None:
    assert members(output, "member < 'c' AND source = 'a.tar'") == ["a.jpg", "b.jpg"]
    write_part([result_row("a.jpg")], output, "1")
    assert members(output, "member < 'c' AND source = 'a.tar'") == ["b.jpg"]
    assert members(output, "archive_format = 'tar' -- a comment") == ["b.jpg", "c.jpg", "d.jpg", ""]


def test_a_condition_on_results_chooses_what_is_done_again(output: str) -> None:
    write_part([result_row("a.jpg", "failed", error_type="truncated"), result_row("b.jpg")], output, "1")
    assert members(output, "status = 'failed'") == ["a.jpg"]
    assert members(output, "status IN ('failed', 'pending')") == ["a.jpg", "c.jpg", "d.jpg", ""]
    assert members(output, "error_type = 'truncated' OR member = 'd.jpg'") == ["a.jpg", "d.jpg"]
    assert members(output, "error_type LIKE 'archive%'") == [""]
    faces = result_row("b.jpg", minute=1, faces=[face(0, psnr=18.0)], face_count=1)
    write_part([faces], output, "2")
    assert members(output, "photo_id IN (SELECT photo_id FROM faces WHERE psnr < 20)") == ["b.jpg"]
    write_part([result_row("a.jpg", minute=1)], output, "3")  # done again: only the newest result counts
    assert members(output, "status = 'failed'") == []


@pytest.mark.parametrize("where", ["statu = 'failed'", "member LIKE", "true); DROP VIEW photos; ("])
def test_a_wrong_condition_is_one_line(output: str, where: str) -> None:
    with pytest.raises(QueryError) as error:
        pending(output, where)
    assert "\n" not in str(error.value)


def test_counts_of_a_run(output: str) -> None:
    found = counts(output)
    assert (found.indexed, found.pending, found.faces, found.adds_up) == (5, 5, 0, True)
    first = [result_row("a.jpg", "failed", error_type="truncated"), result_row("b.jpg", "no_face")]
    write_part(first, output, "1")
    write_part([result_row("", "failed", error_type="archive_truncated"), result_row("c.jpg", "skipped")], output, "2")
    write_part([result_row("a.jpg", minute=5, face_count=3, faces=[face(n) for n in range(3)])], output, "3")
    found = counts(output)
    assert (found.restored, found.no_face, found.skipped, found.failed, found.pending) == (1, 1, 1, 1, 1)
    assert (found.indexed, found.faces, found.failures, found.adds_up) == (5, 3, {"archive_truncated": 1}, True)


def test_a_result_whose_index_row_is_gone_is_not_counted(output: str) -> None:
    """The row of a broken archive stays in the log after the archive is repaired."""
    gone = result_row("gone", "failed", error_type="archive_truncated", face_count=2)
    write_part([result_row("a.jpg", face_count=1), gone], output, "1")
    found = counts(output)
    assert (found.indexed, found.restored, found.failed, found.pending, found.faces) == (5, 1, 0, 4, 1)
    assert (found.failures, found.adds_up) == ({}, True)


def page_row(member: str, page: int, pages: int, status: str = "restored", **columns: Any) -> dict[str, Any]:
    """The manifest row of one page of a TIFF."""
    name = f"id-{member}" if page == 1 else f"id-{member}-p{page}"
    return result_row(member, status, photo_id=name, page=page, pages=pages, **columns)


def test_a_member_is_done_when_each_of_its_pages_has_a_row(output: str) -> None:
    write_part([page_row("a.jpg", 1, 3, face_count=1), page_row("a.jpg", 3, 3, "no_face")], output, "1")
    found = counts(output)
    assert (found.indexed, found.restored, found.no_face, found.pending, found.adds_up) == (7, 1, 1, 5, True)
    assert members(output) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", ""]
    write_part([page_row("a.jpg", 2, 3, "failed", error_type="truncated")], output, "1")
    found = counts(output)
    assert (found.indexed, found.restored, found.no_face, found.failed, found.pending) == (7, 1, 1, 1, 4)
    assert found.adds_up
    assert members(output) == ["b.jpg", "c.jpg", "d.jpg", ""]


def test_the_first_page_can_be_the_one_that_is_missing(output: str) -> None:
    write_part([page_row("a.jpg", 2, 2)], output, "1")
    assert members(output)[0] == "a.jpg"
    found = counts(output)
    assert (found.indexed, found.restored, found.pending, found.adds_up) == (6, 1, 5, True)


def test_more_pages_than_at_first(output: str) -> None:
    """A TIFF is refused for its number of pages, then done with a higher limit, and the run is killed halfway."""
    write_part([result_row("a.jpg", "failed", page=1, pages=1, error_type="too_many_pages")], output, "1")
    assert members(output)[0] == "b.jpg"
    write_part([page_row("a.jpg", 2, 3, minute=1)], output, "2")
    found = counts(output)
    assert (found.indexed, found.restored, found.failed, found.pending, found.adds_up) == (7, 1, 1, 5, True)
    assert members(output)[0] == "a.jpg"


def test_fewer_pages_than_at_first(output: str) -> None:
    """A file was replaced, or can no longer be read: older results stay, and nothing of it is pending."""
    write_part([page_row("a.jpg", 1, 5), page_row("a.jpg", 2, 5), page_row("a.jpg", 4, 5)], output, "1")
    write_part([result_row("a.jpg", "failed", minute=1, page=1, pages=1, error_type="decode_error")], output, "2")
    found = counts(output)
    assert (found.indexed, found.restored, found.failed, found.pending, found.adds_up) == (7, 2, 1, 4, True)
    assert members(output)[0] == "b.jpg"


def test_the_equation_sees_a_page_with_two_rows(output: str) -> None:
    twice = page_row("a.jpg", 2, 2) | {"photo_id": "id-a.jpg-p9"}
    write_part([page_row("a.jpg", 1, 2), page_row("a.jpg", 2, 2), twice], output, "1")
    found = counts(output)
    assert (found.indexed, found.restored, found.pending) == (6, 3, 4)
    assert not found.adds_up


def test_what_an_attempt_has_left_to_do(output: str) -> None:
    """Of what it began with, whatever earlier attempts did with it."""
    share = pending(output, "status = 'pending' AND member <> 'd.jpg'")
    first = [result_row(member, attempt=1) for member in ("a.jpg", "b.jpg", "d.jpg")]
    write_part([*first, page_row("c.jpg", 1, 2, attempt=1)], output, "1")
    assert rows_of(left(share, 1)) == [("a", 2), ("b", 1)]  # c.jpg lacks a page; the broken archive
    assert left(share, 2).places == share.places
    write_part([result_row("a.jpg", minute=1, attempt=2)], output, "2")
    assert rows_of(left(share, 2)) == [("a", 1), ("a", 2), ("b", 1)]


def rows_of(pending: Pending) -> list[tuple[str, int]]:
    return [(pending.files[place["file"]][0], place["row"]) for place in pending.places.to_pylist()]


def test_a_condition_meets_every_page(output: str) -> None:
    pages = [page_row("a.jpg", 1, 2), page_row("a.jpg", 2, 2, "failed", faces=[face(0, psnr=12.0)], face_count=1)]
    write_part([*pages, result_row("b.jpg")], output, "1")
    assert members(output, "status = 'failed'") == ["a.jpg"]
    assert members(output, "photo_id IN (SELECT photo_id FROM faces WHERE psnr < 20)") == ["a.jpg"]
    assert members(output, "page = 2") == ["a.jpg"]
    assert members(output, "member LIKE 'a%' OR member LIKE 'c%'") == ["c.jpg"]
    write_part([page_row("c.jpg", 1, 2)], output, "1")
    assert members(output, "member LIKE 'a%' OR member LIKE 'c%'") == ["c.jpg"]  # its second page is open
    assert members(output, "status = 'pending' AND member < 'd'") == ["c.jpg", ""]


def test_decisions_choose_what_is_done_again(output: str) -> None:
    write_part([result_row("a.jpg"), page_row("b.jpg", 1, 2), page_row("b.jpg", 2, 2)], output, "1")
    lines = ["photo_id,face_index,decision,comment,decided_at"]
    lines += ["id-b.jpg-p2,,reject,,2026-01-02T00:00:00Z", "id-a.jpg,0,accept,,2026-01-02T00:00:00Z"]
    storage.write_bytes(storage.join(output, "decisions", "mine.csv"), "\r\n".join(lines).encode())
    assert members(output, "photo_id IN (SELECT photo_id FROM decisions WHERE decision = 'reject')") == ["b.jpg"]


def test_a_manifest_of_the_first_version(output: str) -> None:
    """A manifest without the column `pages` counts as before."""
    rows = [result_row("a.jpg", face_count=1, faces=[face(0)]), result_row("b.jpg", "failed")]
    write_old_part(output, rows)
    found = counts(output)
    assert (found.indexed, found.restored, found.failed, found.pending, found.faces) == (5, 1, 1, 3, 1)
    assert found.adds_up
    assert members(output) == ["c.jpg", "d.jpg", ""]
    assert members(output, "status = 'failed' AND pages = 1") == ["b.jpg"]
    write_part([page_row("b.jpg", page, 2, minute=1) for page in (1, 2)], output, "2")
    assert (counts(output).restored, counts(output).indexed) == (3, 6)


def test_every_part_says_which_version_it_has(tmp_path: Path) -> None:
    part = write_part([result_row("a.jpg")], str(tmp_path), "1")
    assert pyarrow.parquet.read_metadata(part).metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


def test_no_run_there(tmp_path: Path) -> None:
    for read in (pending, counts):
        with pytest.raises(storage.StorageError, match="no run there"):
            read(str(tmp_path))


def test_a_condition_reads_no_file(tmp_path: Path) -> None:
    """This includes the statement that finds the columns, which runs before the real one."""
    output, secret = str(tmp_path / "out"), tmp_path / "secret.txt"
    write_index(output, [index_row("a.jpg")])
    secret.write_text("the words of the file")
    for call in (f"read_text('{secret}')", f"read_csv('{secret}', header = false)"):
        where = f"(SELECT error(COLUMNS(*)::VARCHAR) FROM {call} LIMIT 1) IS NULL"
        with pytest.raises(QueryError) as refused:
            pending(output, where)
        assert "the words of the file" not in str(refused.value) and "disabled" in str(refused.value)


def test_every_connection_is_locked() -> None:
    """The benchmark's reads a manifest as any program would, to be compared with."""
    root = Path(__file__).parents[3] / "pipeline"
    opened = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "duckdb.connect(" in path.read_text()}
    assert opened == {"manifest/views.py", "benchmark/query.py"}
    text = (root / "manifest" / "views.py").read_text()
    assert text.count("duckdb.connect(") == 1 and text.index("duckdb.connect(") > text.index("def _database(")
