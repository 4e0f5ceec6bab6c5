"""Which LQ picture belongs to which HQ picture, and that both are read together from any kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.limits import Limits
from pipeline.evaluation.pairs import Pairs, fetch_pairs, pair_up
from pipeline.index import units as index_units
from pipeline.index.build import listed
from pipeline.storage.errors import StorageError
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.stages import job

NAMES = ("1", "2", "3", "4", "5")


def names(found: Pairs) -> list[tuple[str | None, str | None]]:
    return [(row["lq"] and row["lq"]["member"], row["hq"] and row["hq"]["member"]) for row in found.pairs.to_pylist()]


def lone(found: Pairs) -> list[tuple[str | None, str | None, str, str]]:
    return [(row.get("lq_member"), row.get("hq_member"), row["error_type"], row["error"]) for row in found.ended]


def files(folder: Path, name: str, *members: str) -> str:
    return put(str(folder), name, zip_bytes({member: member.encode() for member in members}))


def test_partners_have_the_same_name_without_folder_and_suffix(tmp_path: Path) -> None:
    lq = files(tmp_path, "lq.zip", "lq/b.jpg", "lq/a.jpg", "lq/only_lq.jpg")
    hq = files(tmp_path, "hq.zip", "celeba/a.png", "celeba/only.hq.png", "celeba/b.png")
    found = pair_up(listed([lq], "", Limits()), listed([hq], "", Limits()))
    assert names(found) == [("lq/b.jpg", "celeba/b.png"), ("lq/a.jpg", "celeba/a.png")]
    assert lone(found) == [
        ("lq/only_lq.jpg", None, "no_partner", "no HQ picture is named only_lq"),
        (None, "celeba/only.hq.png", "no_partner", "no LQ picture is named only.hq"),
    ]


def test_where_a_name_is_there_twice_the_path_counts(tmp_path: Path) -> None:
    lq = files(tmp_path, "lq.zip", "x/1.jpg", "./y/1.jpg", "y/1.bmp")
    hq = files(tmp_path, "hq.zip", "y/1.png", "x/1.png", "1.png")
    found = pair_up(listed([lq], "", Limits()), listed([hq], "", Limits()))
    assert names(found) == [("x/1.jpg", "x/1.png"), ("./y/1.jpg", "y/1.png")]
    assert [row[:3] for row in lone(found)] == [("y/1.bmp", None, "no_partner"), (None, "1.png", "no_partner")]


def test_one_set_alone_is_taken_file_by_file(tmp_path: Path) -> None:
    one = listed([files(tmp_path, "a.zip", "a.png", "b.png", "folder/")], "", Limits())
    assert names(pair_up(None, one)) == [(None, "a.png"), (None, "b.png")]
    assert names(pair_up(one, None)) == [("a.png", None), ("b.png", None)]


def test_an_archive_that_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    found = pair_up(
        listed([put(str(tmp_path), "cut.zip", b"PK\3\4 and no more")], "", Limits()),
        listed([files(tmp_path, "b.zip", "b")], "", Limits()),
    )
    assert found.pairs.num_rows == 0
    assert [row[2] for row in lone(found)] == ["archive_truncated", "no_partner"]
    with pytest.raises(StorageError, match=r"missing\.tar"):
        listed([str(tmp_path / "missing.tar")], "", Limits())


@pytest.mark.parametrize(("shown", "marked"), [(0, ""), (1, "1"), (2, "15"), (3, "135"), (9, "12345")])
def test_shown_pairs_are_spread_evenly(tmp_path: Path, shown: int, marked: str) -> None:
    rows = pair_up(None, listed([files(tmp_path, "a.zip", *NAMES)], "", Limits()), shown).pairs.to_pylist()
    assert "".join(row["hq"]["member"] for row in rows if row["shown"]) == marked


def archives(tmp_path: Path) -> dict[str, str]:
    members = {f"d/{name}.png": f"hq {name}".encode() for name in NAMES}
    backwards = dict(reversed(members.items()))
    return {
        "zip": put(str(tmp_path), "a.zip", zip_bytes(members)),
        "tar": put(str(tmp_path), "a.tar", tar_bytes(backwards)),
        "tar.gz": put(str(tmp_path), "a.tar.gz", tar_bytes(backwards, "w:gz")),
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_both_files_of_a_pair_arrive_together(tmp_path: Path, tiny_weights: str, kind: str) -> None:
    """Also from a compressed archive in a different order, which cannot be read from the middle."""
    lq = put(str(tmp_path), "lq.tar.gz", tar_bytes({f"{name}.jpg": f"lq {name}".encode() for name in NAMES}, "w:gz"))
    found = pair_up(listed([lq], "", Limits()), listed([archives(tmp_path)[kind]], "", Limits()))
    assert len(list(index_units.split(found.pairs, 1))) == 1  # as one of them is compressed
    tables = fetch_pairs(found.pairs, job(tmp_path / "out", tiny_weights))
    rows: list[dict[str, Any]] = [row for table in tables for row in table.to_pylist()]
    assert sorted((row["lq_member"], row["hq_member"]) for row in rows) == [(f"{n}.jpg", f"d/{n}.png") for n in NAMES]
    assert all(row["lq"][3:] == row["hq"][3:] == row["lq_member"][:1].encode() for row in rows)


def test_what_cannot_be_read_ends_its_pair_alone(tmp_path: Path, tiny_weights: str) -> None:
    folder = tmp_path / "lq"
    for name in ("a", "b"):
        put(str(folder), f"{name}.jpg", b"lq")
    found = pair_up(
        listed([str(folder)], "", Limits()), listed([files(tmp_path, "hq.zip", "a.png", "b.png")], "", Limits())
    )
    (folder / "a.jpg").unlink()
    (table,) = fetch_pairs(found.pairs, job(tmp_path / "out", tiny_weights))
    by_name = {row["hq_member"]: row for row in table.to_pylist()}
    assert by_name["a.png"]["status"] == "failed" and "a.jpg" in by_name["a.png"]["error"]
    assert by_name["b.png"]["status"] is None and by_name["b.png"]["lq"] == b"lq"
