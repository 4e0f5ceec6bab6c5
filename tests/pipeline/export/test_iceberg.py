"""The manifest as an Iceberg table: pyiceberg reads the newest row of each photo, and no file of the run is copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntryStatus
from pyiceberg.table import StaticTable

from jobs.__main__ import main
from pipeline import storage
from pipeline.export import iceberg
from pipeline.export.iceberg import Registered, write_table
from pipeline.export.iceberg_table import Table
from pipeline.export.photos import ExportError
from pipeline.manifest import query
from pipeline.manifest.erase import erase_rows
from pipeline.manifest.schema import FACE, MANIFEST_SCHEMA
from pipeline.manifest.write import write_part
from tests.support.ceph import ACCESS_KEY, SECRET_KEY, CephGateway
from tests.support.rows import face, index_row, result_row, write_index, write_old_part

PAGES: dict[str, Any] = {"page": 1, "pages": 1, "warnings": []}


def restored(n: int, minute: int = 0, **columns: Any) -> dict[str, Any]:
    faces = [face(0, psnr=20.5 + minute, needs_review=True), face(1)]
    return result_row(f"box/{n}.jpg", minute=minute, face_count=2, faces=faces, **PAGES | columns)


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Six photos: one by the first version of the manifest, two that were done again, one with a second page."""
    uri = str(tmp_path / "a run")
    write_index(uri, [index_row(f"box/{n}.jpg") for n in range(6)])
    write_old_part(uri, [result_row("box/0.jpg", "no_face")])
    write_part([restored(n, attempt=1) for n in range(1, 5)], uri, "1")
    page: dict[str, Any] = {"photo_id": "id-box/4.jpg-p2", "page": 2, "pages": 2, "attempt": 1}
    write_part([restored(4, **page), restored(1, 5, attempt=2)], uri, "2")
    write_part([result_row("box/2.jpg", "failed", 6, error_type="truncated", attempt=2, **PAGES)], uri, "2")
    return uri


def read(folder: str, **properties: str) -> list[dict[str, Any]]:
    rows = StaticTable.from_metadata(folder, properties).scan().to_arrow()
    assert rows.schema.field("faces").type.value_type.field("box").type.value_type == pa.float32()
    return sorted(rows.to_pylist(), key=lambda row: row["photo_id"])


def newest(output: str) -> list[dict[str, Any]]:
    with query.connect(output, decided=False) as connection:
        rows = query.run(connection, "SELECT * EXCLUDE (index_id) FROM newest ORDER BY photo_id").to_pylist()
    # pyiceberg gives an empty list for a list that is null
    return [row | {name: row[name] or [] for name in ("warnings", "faces")} for row in rows]


def tree(folder: str) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def test_the_table_has_the_newest_rows_and_no_file_of_its_own(output: str, place: str) -> None:
    expected = newest(output)
    done = write_table(output, place)
    (merged,) = Path(output, "manifest").iterdir()
    assert done == Registered(f"file://{place}/metadata/v1.metadata.json", 6, 1, 1, 0, waiting=0, merged=True)
    assert newest(output) == expected == read(place)
    assert [row["status"] for row in expected] == ["no_face", "restored", "failed", *["restored"] * 3]
    table = StaticTable.from_metadata(place)
    assert table.properties["gc.enabled"] == "false"
    assert table.schema().find_field("faces.element.psnr").doc.endswith("(dB)")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert [one.content for one in snapshot.manifests(table.io)] == [ManifestContent.DATA, ManifestContent.DELETES]
    files = [file for file in Path(place, "data").iterdir() if file.suffix == ".parquet"]
    assert len(files) == 1 and files[0].stat().st_size < 2000 < merged.stat().st_size


def test_any_reader_of_parquet_finds_the_same_by_the_files_that_the_metadata_names(output: str, place: str) -> None:
    """DuckDB without its extension for Iceberg, which is not part of the tests."""
    write_table(output, place)
    entries = Table.of(place, iceberg.schema(), iceberg.PROPERTIES).entries()
    data = [uri.removeprefix("file://") for uri in entries.of(DataFileContent.DATA)]
    older = [uri.removeprefix("file://") for uri in entries.of(DataFileContent.POSITION_DELETES)]
    sql = """SELECT photo_id FROM read_parquet($data, file_row_number = true, filename = true) AS r
        ANTI JOIN read_parquet($older) AS o ON 'file://' || r.filename = o.file_path AND r.file_row_number = o.pos
        ORDER BY photo_id"""
    found = duckdb.execute(sql, {"data": data, "older": older}).fetchall()
    assert [one for (one,) in found] == [row["photo_id"] for row in newest(output)]


def test_a_run_that_goes_on_is_a_new_snapshot(output: str, place: str) -> None:
    first = write_table(output, place)
    before = tree(place)
    again = write_table(output, place)
    assert again.metadata == first.metadata and tree(place) == before  # nothing changed, nothing is written
    write_part([restored(n, 9, attempt=3) for n in (2, 5)], output, "3")
    second = write_table(output, place)
    assert (second.photos, second.added, second.removed, second.merged) == (7, 1, 1, True)
    assert second.metadata.endswith("/v2.metadata.json") and before.items() <= tree(place).items() | {
        (file, data) for file, data in before.items() if file.name == "version-hint.text"
    }
    assert read(place) == newest(output)
    table = StaticTable.from_metadata(place)
    assert len(table.snapshots()) == 2 and len(table.metadata.metadata_log) == 1
    head = table.current_snapshot()
    assert head is not None and head.parent_snapshot_id == table.snapshots()[0].snapshot_id
    listed = [entry for one in head.manifests(table.io) for entry in one.fetch_manifest_entry(table.io, False)]
    states = {(entry.data_file.content, entry.status) for entry in listed}
    both = (DataFileContent.DATA, DataFileContent.POSITION_DELETES)
    assert states == {(one, how) for one in both for how in (ManifestEntryStatus.ADDED, ManifestEntryStatus.DELETED)}


def test_a_file_that_stays_keeps_its_place_in_the_history(
    output: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.manifest.compaction.FILE_ROWS", 5)  # so that files stay
    write_table(output, place)
    first = Table.of(place, iceberg.schema(), iceberg.PROPERTIES).entries()
    write_index(output, [index_row(f"later/{n}.jpg") for n in range(9)], name="b")
    write_part([result_row(f"later/{n}.jpg", "no_face", **PAGES) for n in range(9)], output, "4")
    assert write_table(output, place).added == 1 and read(place) == newest(output)
    now = Table.of(place, iceberg.schema(), iceberg.PROPERTIES).entries()
    kept = first.keys() & now.keys()
    assert kept and all(
        now[uri].sequence_number == 1 and now[uri].snapshot_id == first[uri].snapshot_id for uri in kept
    )


def test_columns_that_come_later_get_new_numbers(output: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table by an earlier version, without the column attempt and the measure psnr of a face."""
    short = pa.struct([field for field in FACE if field.name != "psnr"])
    columns = [field.with_type(pa.list_(short)) if field.name == "faces" else field for field in MANIFEST_SCHEMA]
    with monkeypatch.context() as earlier:
        earlier.setattr(iceberg, "MANIFEST_SCHEMA", pa.schema([one for one in columns if one.name != "attempt"]))
        Table.of(place, iceberg.schema(), iceberg.PROPERTIES).commit({}, [])
    before = StaticTable.from_metadata(place).schema()
    write_table(output, place)
    after = StaticTable.from_metadata(place).schema()
    names = {number: after.find_column_name(number) for number in after.field_ids}
    assert {number: before.find_column_name(number) for number in before.field_ids}.items() <= names.items()
    assert {names[number] for number in names.keys() - before.field_ids} == {"attempt", "faces.element.psnr"}
    expected = newest(output)
    assert [dict(sorted(row.items())) for row in read(place)] == [dict(sorted(row.items())) for row in expected]


def test_what_was_forgotten_is_not_in_the_metadata(output: str, place: str) -> None:
    """Names are in the run's files alone."""
    write_table(output, place)
    table = StaticTable.from_metadata(place)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    for manifest in snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io):
            bounds = {**(entry.data_file.lower_bounds or {}), **(entry.data_file.upper_bounds or {})}
            assert set(bounds) <= {iceberg.PATH_ID}
    assert not any(b"box/" in data or b"truncated" in data for data in tree(place).values())
    erase_rows(output, {"id-box/1.jpg"})
    assert write_table(output, place).photos == 5 and read(place) == newest(output)


def test_a_table_on_s3(output: str, bucket: str, s3: CephGateway) -> None:
    for folder in ("index", "manifest"):
        for file in Path(output, folder).iterdir():
            storage.write_bytes(f"{bucket}/run/{folder}/{file.name}", file.read_bytes())
    done = write_table(f"{bucket}/run", f"{bucket}/tables/photos")
    assert done.metadata == f"{bucket}/tables/photos/metadata/v1.metadata.json"
    client = {"s3.endpoint": s3.endpoint, "s3.access-key-id": ACCESS_KEY, "s3.secret-access-key": SECRET_KEY}
    assert read(done.metadata, **client) == newest(f"{bucket}/run")


def test_two_exports_at_once(output: str, place: str) -> None:
    write_table(output, place)
    late = Table.of(place, iceberg.schema(), iceberg.PROPERTIES)
    write_part([restored(5, 9, attempt=3)], output, "3")
    write_table(output, place)
    with pytest.raises(ExportError, match=r"v2.metadata.json: another export wrote it meanwhile; start this one again"):
        late.commit({}, [next(iter(late.entries()))])


def test_what_cannot_be_registered_is_one_line(output: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(run: str, to: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["export", "iceberg", run, "--to", to])
        assert stopped.value.code == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    empty = str(Path(place).parent / "empty")
    write_index(empty, [index_row("a.jpg")])
    assert "it has no results yet" in refused(empty, place)
    assert "is a run, which keeps that place for itself" in refused(output, f"{output}/manifest/table")
    Path(place, "metadata").mkdir(parents=True)
    Path(place, "metadata", "00000-1234.metadata.json").write_text("{}")
    assert "a table of some catalogue; export into another folder" in refused(output, place)


def test_the_command(output: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "iceberg", output, "--to", place])
    assert stopped.value.code in (None, 0)
    line = f"iceberg: file://{place}/metadata/v1.metadata.json (6 photos in 1 file, 1 new, 0 gone)"
    assert capsys.readouterr().out.splitlines() == [line]
    assert json.loads(Path(output, "status.json").read_text())["tally"]["counts"]["restored"] == 4
