from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.columns import FACE, MANIFEST_SCHEMA
from pipeline.index import INDEX_SCHEMA
from pipeline.manifest import write_part
from pipeline.query import QueryError, connect, run
from tests.rows import face, index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Three photos: one with two faces that was done again, one failed, one without a result."""
    uri = str(tmp_path / "out")
    write_index(uri, [index_row(member) for member in ("a.jpg", "b.jpg", "c.jpg")])
    old = result_row("a.jpg", restored_uri="old.png", face_count=1, faces=[face(0, psnr=10.0)])
    write_part([old, result_row("b.jpg", "failed", error="cannot decode")], uri, "1")
    faces = [face(0, psnr=20.0), face(1, psnr=30.0)]
    write_part([result_row("a.jpg", minute=1, restored_uri="new.png", face_count=2, faces=faces)], uri, "2")
    return uri


def rows(output: str, sql: str) -> list[dict[str, object]]:
    with connect(output) as connection:
        return run(connection, sql).to_pylist()


def test_photos_is_the_newest_row_of_each_photo_without_the_faces(output: str) -> None:
    assert rows(output, "SELECT member, status, restored_uri FROM photos ORDER BY member") == [
        {"member": "a.jpg", "status": "restored", "restored_uri": "new.png"},
        {"member": "b.jpg", "status": "failed", "restored_uri": None},
    ]
    names = [row["column_name"] for row in rows(output, "DESCRIBE photos")]
    assert names == [name for name in MANIFEST_SCHEMA.names if name != "faces"]


def test_a_photo_written_twice_in_one_moment_is_one_row(output: str) -> None:
    write_part([result_row("b.jpg"), result_row("b.jpg", "failed")], output, "3")
    assert len(rows(output, "FROM photos WHERE member = 'b.jpg'")) == 1


def test_faces_is_one_row_per_face_of_the_newest_row(output: str) -> None:
    columns = "photo_id, member, restored_uri, face_index, psnr, box[3] AS x1"
    found = rows(output, f"SELECT {columns} FROM faces ORDER BY face_index")
    same = {"photo_id": "id-a.jpg", "member": "a.jpg", "restored_uri": "new.png", "x1": 3.0}
    assert found == [{**same, "face_index": 0, "psnr": 20.0}, {**same, "face_index": 1, "psnr": 30.0}]
    names = [row["column_name"] for row in rows(output, "DESCRIBE faces")]
    assert names == ["photo_id", "member", "restored_uri", *(column.name for column in FACE)]


def test_index_and_the_whole_log_can_be_read_too(output: str) -> None:
    assert rows(output, "SELECT count(*) AS n FROM index") == [{"n": 3}]
    assert [row["column_name"] for row in rows(output, "DESCRIBE index")] == INDEX_SCHEMA.names
    assert rows(output, "SELECT count(*) AS n FROM manifest") == [{"n": 3}]


def test_times_are_utc(output: str) -> None:
    found = rows(output, "SELECT max(finished_at) AS at, max(finished_at)::VARCHAR AS text FROM photos")[0]
    assert found["at"] == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert str(found["text"]).startswith("2026-01-01 00:01:00")


def test_without_a_manifest_the_views_are_empty(tmp_path: Path) -> None:
    write_index(str(tmp_path), [index_row("a.jpg")])
    assert rows(str(tmp_path), "FROM photos") == rows(str(tmp_path), "FROM faces") == []


def test_a_file_that_is_no_parquet_is_no_part(output: str) -> None:
    Path(output, "manifest", ".0123.part").write_bytes(b"half a fi")
    assert len(rows(output, "FROM photos")) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{output}/index/a.parquet')",
        "SELECT * FROM '{output}/index/a.parquet'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM output",  # a Python variable of this process
        "COPY photos TO '{output}/stolen.csv'",
        "ATTACH '{output}/new.db'",
        "SET enable_external_access = true",
        "CREATE TABLE t AS FROM photos",
        "DROP VIEW photos",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "",
        "SELECT nothing FROM photos",
        "SELEC",
    ],
)
def test_what_does_not_read_the_run_is_refused_in_one_line(output: str, sql: str) -> None:
    before = sorted(Path(output).rglob("*"))
    with pytest.raises(QueryError) as error:
        rows(output, sql.format(output=output))
    assert str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(Path(output).rglob("*")) == before
