"""The remaining work as places of index rows: which rows, how they are cut into units, how they are found."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline import storage
from pipeline.index import units as index_units
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.units import PLACE, Pending, load, split
from pipeline.manifest import pending as manifest_pending
from pipeline.manifest.write import write_part
from tests.support.rows import index_row, pending_rows, result_row


def photos(count: int, source: str = "a.tar", **columns: Any) -> pa.Table:
    rows = [index_row(f"{n:04}.jpg", source=source, **columns) for n in range(count)]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def left(*tables: pa.Table) -> Pending:
    """The pending photos of these archives, as if none were done."""
    places = [
        {"file": file, "row": row, "bytes": one["stored_bytes"], "streamed": one["archive_format"] != "tar"}
        for file, table in enumerate(tables)
        for row, one in enumerate(table.to_pylist())
    ]
    schema = pa.schema([field for field in PLACE if field.name != "photo_id"])
    return Pending("out", [str(n) for n in range(len(tables))], pa.Table.from_pylist(places, schema))


def sizes(*tables: pa.Table, actors: int = 1) -> list[int]:
    """The rows of the units: each row is in one unit, in order, and `split` cuts in the same way."""
    units = left(*tables).units(actors).to_pylist()
    assert [(unit["file"], row) for unit in units for row in unit["rows"]] == [
        (str(file), row) for file, table in enumerate(tables) for row in range(len(table))
    ]
    whole = pa.concat_tables([INDEX_SCHEMA.empty_table(), *tables])
    parts = list(split(whole, actors))
    assert pa.concat_tables([INDEX_SCHEMA.empty_table(), *parts]).equals(whole)
    assert [len(part) for part in parts] == [len(unit["rows"]) for unit in units]
    return [len(unit["rows"]) for unit in units]


@pytest.mark.parametrize(
    ("count", "actors", "largest", "units"),
    [
        (0, 1, 0, 0),
        (1, 1, 1, 1),
        (19, 4, 1, 19),
        (100, 1, 5, 20),
        (100, 2, 2, 50),
        (20_000, 2, index_units.UNIT_PHOTOS, 79),
    ],
)
def test_units_leave_twenty_for_each_actor(count: int, actors: int, largest: int, units: int) -> None:
    found = sizes(photos(count), actors=actors)
    assert max(found, default=0) == largest
    assert len(found) == units


def test_one_large_tar_is_spread_over_all_actors() -> None:
    """100 GB in 10,000 members, 16 actors: 20 units for each actor, none with more than its share of bytes."""
    found = sizes(photos(10_000, stored_bytes=10_000_000), actors=16)
    assert len(found) >= 16 * 20
    assert max(found) == 10_000 // (16 * 20)


def test_units_hold_no_more_bytes_than_may_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_units, "UNIT_BYTES", 64 << 20)
    assert sizes(photos(1000, stored_bytes=30 << 20))[:3] == [2, 2, 2]
    assert sizes(photos(1000, stored_bytes=100 << 20))[:3] == [1, 1, 1]


@pytest.mark.parametrize("format", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_compressed_tar_is_one_unit(format: str) -> None:
    compressed = photos(500, "b.tar", archive_format=format, stored_bytes=1 << 20)
    assert sizes(photos(50), compressed, photos(25, "c.tar")) == [25 + 3, 22, 500, 25]


@pytest.mark.parametrize(
    ("counts", "format", "parts", "cut"),
    [
        ((7,), "tar", 3, [2, 2, 3]),  # one large archive is in several parts
        ((5, 1, 3), "tar", 3, [3, 3, 3]),
        ((5, 1, 3), "tar.gz", 3, [5, 1, 3]),  # a compressed tar is in one of them
        ((1, 8), "tar.gz", 3, [1, 8]),
        ((2,), "tar", 3, [1, 1]),  # and none is empty
        ((), "tar", 3, []),
    ],
)
def test_shares_of_several_drivers(counts: tuple[int, ...], format: str, parts: int, cut: list[int]) -> None:
    whole = left(*(photos(count, archive_format=format) for count in counts))
    shares = whole.shares(parts)
    assert [len(share) for share in shares] == cut
    assert pa.concat_tables([whole.places.slice(0, 0), *(share.places for share in shares)]).equals(whole.places)


def test_a_unit_has_one_source() -> None:
    assert sizes(*[photos(3, f"{n}.tar") for n in range(200)]) == [3] * 200


def test_units_find_their_rows_again(tmp_path: Path) -> None:
    """Rows across row groups, without those that are done, from files of several archives."""
    output = str(tmp_path)
    tables = [photos(100, f"{name}.tar", photo_id=None) for name in "ab"]
    for name, table in zip("ab", tables, strict=True):
        ids = pa.array([f"{name}{n}" for n in range(100)])
        table = table.set_column(0, INDEX_SCHEMA.field("photo_id"), ids)
        sink = io.BytesIO()
        pyarrow.parquet.write_table(table, sink, row_group_size=7)
        storage.write_bytes(f"{output}/index/{name}-0123456789abcdef.parquet", sink.getvalue())
    done = set(np.random.default_rng(0).choice(200, 120, replace=False).tolist())
    ids = [f"{name}{n}" for name in "ab" for n in range(100)]
    write_part([result_row("", photo_id=ids[n]) for n in done], output, "1")
    found = pending_rows(output)
    assert found.schema.equals(INDEX_SCHEMA, check_metadata=True)
    assert found["photo_id"].to_pylist() == [photo for n, photo in enumerate(ids) if n not in done]
    assert set(found["source"].to_pylist()) == {"a.tar", "b.tar"}
    some = load({"file": "b-0123456789abcdef.parquet", "rows": [99, 3]}, output)
    assert some["photo_id"].to_pylist() == ["b99", "b3"]


def test_the_driver_holds_places_and_no_rows(tmp_path: Path) -> None:
    """With names of any length, a pending photo costs the driver only these four numbers."""
    rows = [index_row("x" * 900 + f"{n}.jpg", photo_id=f"{n:020}") for n in range(2000)]
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), sink)
    storage.write_bytes(f"{tmp_path}/index/a-0123456789abcdef.parquet", sink.getvalue())
    found = manifest_pending.pending(str(tmp_path))
    assert len(found) == 2000
    assert found.places.nbytes / len(found) < 20
    assert found.units(1).nbytes / len(found) < 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_million_photos_resume_in_two_gigabytes(tmp_path: Path) -> None:
    """With 99 of 100 done, the comparison is largest."""
    command = [sys.executable, "-m", "tests.scale.resume_scale", str(tmp_path), "10000000", "0.99"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path.cwd()).stdout
    assert "100000 photos in 1400 units; adds up: True, pending 100000" in printed
    assert max(map(int, re.findall(r"at most (\d+) MB", printed))) < 2000
