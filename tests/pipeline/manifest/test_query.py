from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest import compaction, views
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.query import QueryError, columns, connect, run
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA, SCHEMA_VERSION
from pipeline.manifest.write import write_part
from pipeline.run.attempts import last_number
from pipeline.run.status import read_status
from tests.support.rows import face, index_row, result_row, write_index, write_later_part, write_old_part

PHOTOS, GROUP = 4000, 200


class Counting(LocalFileSystem):
    """Counts the bytes read from the manifest."""

    cachable = False
    bytes = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return Counted(self, super()._open(path, mode, **options))


class Counted:
    def __init__(self, filesystem: Counting, file: Any) -> None:
        self.filesystem, self.file = filesystem, file

    def read(self, *size: int) -> bytes:
        data: bytes = self.file.read(*size)
        self.filesystem.bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compacted manifest: rows sorted by member, in row groups of 200; a failed photo in one of them."""
    number = random.Random(0).random
    output = str(tmp_path_factory.mktemp("large"))
    write_index(output, [index_row("a.jpg")])
    found = [
        result_row(
            f"box/{n:05}.jpg",
            "failed" if n == 777 else "restored",
            minute=n,
            page=1,
            pages=1,
            restored_uri=f"s3://archive/restored/{n * 7919:012}.jpg",
            faces=[face(k, psnr=number(), ssim=number(), seed=int(number() * 2**60)) for k in range(2)],
            face_count=2,
        )
        for n in range(PHOTOS)
    ]
    Path(output, "manifest").mkdir()
    file = Path(output, "manifest", "merged-large.parquet")
    pq.write_table(pa.Table.from_pylist(found, schema=MANIFEST_SCHEMA), file, row_group_size=GROUP, compression="zstd")
    return output


@pytest.fixture
def bytes_read(large: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Bytes of the manifest that a statement reads, without the footer."""
    opened: list[Counting] = []

    def counting(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        opened.append(Counting())
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(opened[-1])), uri

    def measure(sql: str) -> int:
        opened.clear()
        with connect(large) as connection:
            assert run(connection, sql).num_rows > 0
        return sum(filesystem.bytes for filesystem in opened)

    monkeypatch.setattr(storage, "arrow_filesystem", counting)
    nothing = measure("SELECT member FROM manifest WHERE member = '' UNION ALL SELECT ''")
    return lambda sql: measure(sql) - nothing


@pytest.mark.parametrize(
    "condition",
    [
        "member = 'box/00150.jpg'",
        "source = 'a.tar' AND member BETWEEN 'box/00110.jpg' AND 'box/00120.jpg'",
        "photo_id = 'id-box/00150.jpg'",
    ],
)
@pytest.mark.parametrize("view", ["photos", "faces", "manifest"])
def test_conditions_on_what_a_photo_is_read_its_row_group_alone(
    view: str, condition: str, bytes_read: Callable[[str], int]
) -> None:
    """A statement needs one row group of twenty; a fifth allows for readahead."""
    assert 0 < bytes_read(f"FROM {view} WHERE {condition}") < bytes_read(f"FROM {view}") / 5


@pytest.mark.parametrize("condition", ["status = 'failed'", "finished_at > TIMESTAMPTZ '2026-01-03 18:00:00Z'"])
def test_conditions_on_results_read_their_row_groups_of_the_log(
    condition: str, bytes_read: Callable[[str], int]
) -> None:
    assert 0 < bytes_read(f"FROM manifest WHERE {condition}") < bytes_read("FROM manifest") / 5


def test_only_columns_that_are_asked_for_are_read(bytes_read: Callable[[str], int]) -> None:
    everything, photos = bytes_read("FROM manifest"), bytes_read("FROM photos")
    assert photos < everything / 1.5  # the faces are most of it
    assert bytes_read("SELECT status, count(*) FROM photos GROUP BY 1") < photos / 1.5
    assert bytes_read("SELECT psnr FROM faces") > everything / 3


def test_every_column_of_every_view_is_described(output: str) -> None:
    found = columns(output).to_pylist()
    for view in ("photos", "faces", "index", "manifest", "decisions"):
        names = [row["column_name"] for row in rows(output, f"DESCRIBE {view}")]
        assert [row["column"] for row in found if row["view"] == view] == names
    assert all(row["type"] and row["meaning"] for row in found)
    (box,) = [row for row in found if (row["view"], row["column"]) == ("faces", "box")]
    assert (box["view"], box["type"], box["unit"]) == ("faces", "FLOAT[4]", "px")
    assert box["meaning"] == "x0, y0, x1, y1 in the upright photo"


def test_pandas_opens_the_manifest_as_it_is(output: str) -> None:
    import pandas

    frame = pandas.read_parquet(Path(output, "manifest"))
    assert sorted(frame["status"]) == ["failed", "restored", "restored"]
    newest = frame.sort_values("finished_at").groupby("photo_id").last()
    assert [one["psnr"] for one in newest.loc["id-a.jpg", "faces"]] == [20.0, 30.0]


def test_polars_opens_the_manifest_as_it_is(output: str) -> None:
    import polars

    frame = polars.scan_parquet(Path(output, "manifest"))
    newest = frame.sort("finished_at").group_by("photo_id").last()
    faces = newest.filter(polars.col("status") == "restored").explode("faces").unnest("faces").collect()
    assert sorted(faces["psnr"].to_list()) == [20.0, 30.0]
    assert faces["box"].dtype == polars.Array(polars.Float32, 4)


def test_duckdb_opens_the_manifest_as_it_is(output: str) -> None:
    with duckdb.connect() as connection:
        sql = f"SELECT member, unnest(faces).psnr FROM '{output}/manifest/*.parquet' WHERE len(faces) = 2"
        assert sorted(connection.sql(sql).fetchall()) == [("a.jpg", 20.0), ("a.jpg", 30.0)]


def test_all_three_open_a_manifest_of_two_versions(output: str) -> None:
    """Polars needs options for missing columns, also those of a face; the others accept them."""
    import pandas
    import polars

    write_old_part(output, [result_row("c.jpg")])
    assert len(pandas.read_parquet(Path(output, "manifest"))) == 4
    faces = polars.ScanCastOptions(missing_struct_fields="insert", extra_struct_fields="ignore")
    options: dict[str, Any] = {"missing_columns": "insert", "extra_columns": "ignore", "cast_options": faces}
    assert polars.scan_parquet(Path(output, "manifest"), **options).collect().height == 4
    with duckdb.connect() as connection:
        sql = f"SELECT count(*), count(page) FROM read_parquet('{output}/manifest/*.parquet', union_by_name = true)"
        assert connection.sql(sql).fetchall() == [(4, 0)]
    assert rows(output, "SELECT page, pages, mask FROM photos WHERE member = 'c.jpg'") == [
        {"page": 1, "pages": 1, "mask": None}
    ]


def test_the_statement_of_the_documents_gives_the_newest_rows(output: str) -> None:
    write_part([result_row("0.jpg", "failed", minute=900, attempt=1)], output, "1")
    write_part([result_row("0.jpg", "no_face", minute=1, attempt=2)], output, "2")
    page = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text()
    statement = page.partition("```sql\n")[2].partition("```")[0].replace("restored/manifest", f"{output}/manifest")
    names = "photo_id, status, attempt"
    with duckdb.connect() as plain:
        found = plain.execute(f"SELECT {names} FROM ({statement}) ORDER BY photo_id").fetchall()
    with connect(output) as connection:
        assert found == connection.sql(f"SELECT {names} FROM photos ORDER BY photo_id").fetchall()
    assert ("id-0.jpg", "no_face", 2) in found


def test_a_manifest_of_a_later_version_is_refused_in_one_line(output: str) -> None:
    write_later_part(output, [result_row("c.jpg")])
    for ask in (lambda: rows(output, "FROM photos"), lambda: read_status(output), lambda: pending(output)):
        with pytest.raises(storage.StorageError) as error:
            ask()
        assert (
            f"part-later.parquet: written by a later version of interlcm (schema_version {SCHEMA_VERSION + 1},"
            in str(error.value)
        )
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"half a file"])
def test_a_damaged_part_is_one_line_with_a_remedy(output: str, content: bytes) -> None:
    Path(output, "manifest", "part-bad.parquet").write_bytes(content)
    with pytest.raises(
        storage.StorageError, match="part-bad.parquet: damaged, or not a part of a manifest; move it elsewhere"
    ):
        rows(output, "FROM photos")


def rows(output: str, sql: str) -> list[dict[str, object]]:
    """The views for some photos and those for all photos give the same rows."""
    with connect(output) as some, connect(output, whole=True) as whole:
        found = run(some, sql).to_pylist()
        assert sorted(map(str, run(whole, sql).to_pylist())) == sorted(map(str, found))
        return found


def test_photos_is_the_newest_row_of_each_photo_without_the_faces(output: str) -> None:
    assert rows(output, "SELECT member, status, restored_uri FROM photos ORDER BY member") == [
        {"member": "a.jpg", "status": "restored", "restored_uri": "new.png"},
        {"member": "b.jpg", "status": "failed", "restored_uri": None},
    ]
    names = [row["column_name"] for row in rows(output, "DESCRIBE photos")]
    assert names == [name for name in MANIFEST_SCHEMA.names if name != "faces"]


def test_a_photo_written_twice_in_one_moment_is_one_row(output: str) -> None:
    write_part([result_row("b.jpg"), result_row("b.jpg", "failed")], output, "3")
    assert rows(output, "SELECT count(*) AS rows FROM photos WHERE member = 'b.jpg'") == [{"rows": 1}]


def test_faces_is_one_row_per_face_of_the_newest_row(output: str) -> None:
    columns = "photo_id, member, restored_uri, face_index, psnr, box[3] AS x1"
    found = rows(output, f"SELECT {columns} FROM faces ORDER BY face_index")
    same = {"photo_id": "id-a.jpg", "member": "a.jpg", "restored_uri": "new.png", "x1": 3.0}
    assert found == [{**same, "face_index": 0, "psnr": 20.0}, {**same, "face_index": 1, "psnr": 30.0}]
    names = [row["column_name"] for row in rows(output, "DESCRIBE faces")]
    assert names == ["photo_id", "source", "member", "page", "restored_uri", *(column.name for column in FACE)]


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


def test_connections_to_two_runs_at_once_see_their_own(output: str, tmp_path: Path) -> None:
    """They are of one database, in which nothing stays."""
    write_index(str(tmp_path / "other"), [index_row("a.jpg")])
    asked = "SELECT (SELECT count(*) FROM photos) AS photos, (SELECT count(*) FROM index) AS members"
    with connect(output) as one, connect(str(tmp_path / "other")) as other:
        assert run(one, asked).to_pylist() == [{"photos": 2, "members": 3}]
        assert run(other, asked).to_pylist() == [{"photos": 0, "members": 1}]
        assert run(one, asked).to_pylist() == [{"photos": 2, "members": 3}]
    with views.locked() as after:
        assert run(after, "SHOW ALL TABLES").to_pylist() == []


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


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("FROM photo", "no table photo; there are photos, faces, index, manifest, decisions"),
        ("FROM 'scans.tar'", "no table scans.tar; there are photos, faces, index, manifest, decisions"),
        ('SELECT 1 FROM photos WHERE source = "scans.tar"', "; a text stands in single quotes: 'scans.tar'"),
        ("SELECT 1 FROM photos WHERE status = restored", "; a text stands in single quotes: 'restored'"),
    ],
)
def test_a_name_that_is_none_comes_with_what_is_meant(output: str, sql: str, words: str) -> None:
    with pytest.raises(QueryError) as error:
        rows(output, sql)
    assert str(error.value).endswith(words) and error.value.exit_code == 2


def test_the_newest_row_is_that_of_the_latest_attempt_whatever_the_clocks_say(output: str) -> None:
    """A worker whose clock is two hours ahead fails; the next attempt succeeds."""
    write_part([result_row("c.jpg", "failed", minute=120, attempt=1)], output, "1")
    write_part([result_row("c.jpg", "no_face", minute=1, attempt=2)], output, "2")
    asked = "SELECT status FROM photos WHERE member = 'c.jpg'"
    assert rows(output, asked) == [{"status": "no_face"}]
    assert counts(output).no_face == 1
    assert len(pending(output, "status = 'failed'")) == 1  # b.jpg alone
    write_part([result_row("c.jpg", "restored", minute=0, attempt=2)], output, "2b")
    write_part([result_row("c.jpg", "failed", minute=9, attempt=2)], output, "2c")
    assert rows(output, asked) == [{"status": "no_face"}]  # of one attempt the later result, not a failure
    compaction.compact(output)
    assert rows(output, asked) == [{"status": "no_face"}]
    assert last_number(output) == 2


def test_rows_of_earlier_versions_go_by_their_time_and_before_all_attempts(output: str) -> None:
    write_part([result_row("c.jpg", "restored", minute=1), result_row("c.jpg", "failed", minute=2)], output, "old")
    asked = "SELECT status FROM photos WHERE member = 'c.jpg'"
    assert rows(output, asked) == [{"status": "failed"}]
    write_part([result_row("c.jpg", "no_face", minute=-60, attempt=1)], output, "new")
    assert rows(output, asked) == [{"status": "no_face"}]
