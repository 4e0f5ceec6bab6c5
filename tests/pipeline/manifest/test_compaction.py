"""Merge the parts of a manifest: the files and rows that come out, of parts of any version."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs

from pipeline import storage
from pipeline.manifest import compaction
from pipeline.manifest.compaction import FEW, Compacted, compact, compact_if_many
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.manifest.write import write_part
from pipeline.storage.output import Output
from tests.support.ceph import CephGateway
from tests.support.fault_proxy import FaultProxy
from tests.support.many_parts import PHOTOS, fill, log, member, names, photos
from tests.support.rows import face, index_row, result_row, write_index, write_later_part, write_old_part


def only_file(output: str) -> Path:
    (name,) = names(output)
    return Path(output, "manifest", name)


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def test_many_parts_become_one_file_with_the_same_rows(output: str) -> None:
    before, rows, equation = fill(output), log(output), counts(output)
    done = compact(output)
    assert (done.parts_before, done.parts_after, done.rows) == (40, 1, PHOTOS + PHOTOS // 3)
    assert done.bytes == only_file(output).stat().st_size
    assert photos(output) == before
    assert log(output) == rows  # older rows stay: it is a log
    assert counts(output) == equation
    assert len(pending(output)) == 5


def test_rows_are_sorted_and_keep_schema_and_version(output: str) -> None:
    fill(output)
    compact(output)
    table = pq.read_table(only_file(output))
    assert table.schema.equals(MANIFEST_SCHEMA, check_metadata=True)
    keys = list(zip(table["member"].to_pylist(), table["finished_at"].to_pylist(), strict=True))
    assert keys == [*sorted(keys[:PHOTOS]), *sorted(keys[PHOTOS:])]  # the newest of each photo, then older ones
    assert {key[0] for key in keys[:PHOTOS]} == {member(n) for n in range(PHOTOS)}
    assert pq.read_metadata(only_file(output)).row_group(0).num_rows == PHOTOS


def test_the_same_rows_make_the_same_file_whatever_their_parts(tmp_path: Path) -> None:
    few, many = str(tmp_path / "few"), str(tmp_path / "many")
    fill(few, parts=4)
    fill(many, parts=20)
    compact(few)
    compact(many)
    assert names(few) == names(many)


def test_a_second_compaction_has_nothing_to_do(output: str) -> None:
    fill(output)
    compact(output)
    file = only_file(output)
    assert compact(output) == Compacted(1, 1, 0, 0, Output(output).manifest_listing())
    assert only_file(output) == file


def test_without_a_manifest_there_is_nothing_to_do(output: str) -> None:
    write_index(output, [index_row("a.jpg")])
    assert compact(output) == Compacted(0, 0, 0, 0, [])


def test_files_stay_below_a_size_and_cover_ranges_of_their_own(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FILE_ROWS", 25)
    write_index(output, [index_row(member(n)) for n in range(PHOTOS)])
    for n in random.Random(1).sample(range(PHOTOS), PHOTOS):
        write_part([result_row(member(n))], output, "1")
    assert compact(output).parts_after == 3
    ranges = []
    for name in names(output):
        found = pq.read_table(Path(output, "manifest", name))["member"].to_pylist()
        assert len(found) <= 25
        ranges.append((found[0], found[-1]))
    ranges.sort()
    assert all(first[1] < second[0] for first, second in zip(ranges[:-1], ranges[1:], strict=True))


def test_a_large_file_is_not_written_again(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(output)
    compact(output)
    large = only_file(output)
    monkeypatch.setattr(compaction, "FILE_ROWS", PHOTOS)
    for n in range(3):
        write_part([result_row(member(n + PHOTOS))], output, "3")
    assert compact(output).rows == 3
    assert large.exists()
    assert len(names(output)) == 2


def test_a_photo_of_a_large_file_that_is_done_again_moves_behind_the_newest(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(output)
    compact(output)
    large = only_file(output)
    monkeypatch.setattr(compaction, "FILE_ROWS", PHOTOS)
    for n in range(3):
        write_part([result_row(member(n), minute=9)], output, "3")
    found, rows = photos(output), log(output)
    assert compact(output, whole=False).rows == 3  # during a run large files stay
    assert large.exists() and photos(output) == found
    assert compact(output).rows == PHOTOS + PHOTOS // 3
    assert not large.exists() and len(names(output)) == 2
    assert (photos(output), log(output)) == (found, rows)
    listed = json.loads(Path(output, "manifest.json").read_text())["files"]
    assert sorted((one["newest"], one["rows"]) for one in listed) == [(3, 3), (PHOTOS - 3, PHOTOS + PHOTOS // 3)]


def test_parts_of_long_rows_make_smaller_files(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(10):
        write_part([result_row(member(n), faces=[face(k) for k in range(50)], face_count=50)], output, "1")
    size = pq.read_metadata(Path(output, "manifest", names(output)[0])).row_group(0).total_byte_size
    monkeypatch.setattr(compaction, "FILE_BYTES", 3 * size)
    assert compact(output).parts_after == 4  # of three rows each, and one


def test_a_manifest_of_the_first_version_is_brought_up_to_date(output: str) -> None:
    write_index(output, [index_row("a.jpg"), index_row("b.jpg")])
    write_old_part(output, [result_row("a.jpg", faces=[face(0, psnr=20.0)], face_count=1)])
    write_part([result_row("b.jpg", page=1, pages=1, mask="ellipse")], output, "1")
    before = photos(output)
    compact(output)
    assert photos(output) == before
    table = pq.read_table(only_file(output))
    assert table.schema.equals(MANIFEST_SCHEMA, check_metadata=True)
    assert table["pages"].to_pylist() == [1, 1]
    assert table["mask"].to_pylist() == [None, "ellipse"]


@pytest.mark.parametrize("rows", [1, 40])
def test_one_file_of_the_first_version_is_rewritten_too(
    output: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FILE_ROWS", 30)
    write_index(output, [index_row(member(n)) for n in range(rows)])
    write_old_part(output, [result_row(member(n)) for n in range(rows)])
    before = photos(output)
    assert compact(output).rows == rows
    assert pq.read_schema(only_file(output)).metadata == MANIFEST_SCHEMA.metadata
    assert photos(output) == before
    assert compact(output).rows == 0


def test_a_part_of_a_later_version_is_refused_and_stays(output: str) -> None:
    write_index(output, [index_row(f"{n}.jpg") for n in range(3)])
    part = write_later_part(output, [result_row("0.jpg")])
    data = Path(part).read_bytes()
    for n in (1, 2):
        write_part([result_row(f"{n}.jpg")], output, "1")
    parts = names(output)
    with pytest.raises(storage.StorageError, match="part-later.parquet: written by a later version of interlcm"):
        compact(output)
    assert names(output) == parts
    assert Path(part).read_bytes() == data


def test_a_damaged_part_is_one_line_and_nothing_is_lost(output: str) -> None:
    fill(output)
    rows = names(output)
    Path(output, "manifest", "part-bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(
        storage.StorageError, match="part-bad.parquet: damaged, or not a part of a manifest; move it elsewhere"
    ):
        compact(output)
    assert names(output) == sorted([*rows, "part-bad.parquet"])


def test_a_few_parts_are_left_alone(output: str) -> None:
    write_index(output, [index_row(member(n)) for n in range(FEW + 1)])
    for n in range(FEW):
        write_part([result_row(member(n))], output, "1")
    compact_if_many(output)
    assert len(names(output)) == FEW
    write_part([result_row(member(FEW))], output, "1")
    compact_if_many(output)
    assert len(names(output)) == 1
    assert counts(output).restored == FEW + 1


def test_on_object_storage(bucket: str, s3: CephGateway, fresh_clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part costs one request, to read it; all together are listed, merged and deleted in a few more."""
    output, parts = storage.join(bucket, "out"), 24
    write_index(output, [index_row(member(n)) for n in range(parts)])
    for n in range(parts):
        write_part([result_row(member(n), faces=[face(0)], face_count=1)], output, "1")
    with FaultProxy(s3.rgw_port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        done = compact(output)
        assert (done.parts_before, done.parts_after, done.rows) == (parts, 1, parts)
        assert parts < proxy.counts.total() <= parts + 12
        assert counts(output).restored == parts
