"""Tables for ingest: the columns that each system's documentation asks for, and files that are there."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import bagit
import pytest

from jobs.__main__ import main
from pipeline.export import photos
from pipeline.export.bag import write_bag
from pipeline.export.photos import BATCH_ROWS
from pipeline.export.tables import Photo, one_value, write_table
from pipeline.manifest import query
from pipeline.manifest.write import write_part
from tests.support.rows import index_row, result_row, write_index


def table(output: str, place: str, system: str, base: str) -> list[dict[str, str]]:
    (counts,) = write_table(output, place, system, base)
    (file,) = Path(place).iterdir()
    with open(file, newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == counts.kept == 3 < BATCH_ROWS
    return rows


def test_islandora_finds_files_and_checksums(decided_run: str, place: str) -> None:
    rows = table(decided_run, place, "islandora", "")
    assert {"id", "file", "title", "field_model"} <= set(rows[0])
    assert len({row["id"] for row in rows}) == 3
    for row in rows:  # input_dir is OUTPUT, fixity_algorithm sha256
        assert hashlib.sha256(Path(decided_run, row["file"]).read_bytes()).hexdigest() == row["checksum"]


def test_archivematica_finds_the_files_of_a_bag(decided_run: str, place: str) -> None:
    list(write_bag(decided_run, place, [], archivematica=True))
    bagit.Bag(place).validate()
    with open(Path(place, "data", "metadata", "metadata.csv"), newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0])[0] == "filename"
    assert all(Path(place, row["filename"]).is_file() for row in rows) and len(rows) == 3
    assert [row["decision"] for row in rows] == ["", "accepted by a curator", ""]
    assert all(name.startswith(("dc.", "dcterms.")) for name in set(rows[0]) - {"filename", "decision"})


def test_archivematica_in_a_transfer(decided_run: str, place: str) -> None:
    assert table(decided_run, place, "archivematica", "objects/")[0]["filename"].startswith("objects/restored/")


def test_omeka_gets_addresses(decided_run: str, place: str) -> None:
    rows = table(decided_run, place, "omeka", "https://example.org/run/")
    assert rows[0]["media"] == "https://example.org/run/restored/scans.tar/box1/astronaut.jpg.png"
    assert [name for name in rows[0] if name.startswith("dcterms:")][0] == "dcterms:title"
    assert "generative model" in rows[0]["dcterms:description"]


def test_omeka_needs_them(decided_run: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "csv", decided_run, "--for", "omeka", "--to", place])
    assert ended.value.code == 2 and "--files-at" in capsys.readouterr().err
    assert not Path(place).exists()
    with pytest.raises(SystemExit):
        main(["export", "csv", decided_run, "--for", "islandora", "--to", place])
    said = capsys.readouterr()
    assert "left out: " in said.out and "decisions that the output does not follow yet: interlcm decide" in said.err


def test_no_name_becomes_two_values() -> None:
    assert one_value("a|b;c\nd.jpg") == "a\u00a6b,c d.jpg"
    row = result_row("x" * 300 + ".jpg", restored_uri="/run/restored/a.tar/x.jpg", archive_name="a.tar", pages=1)
    assert len(Photo(row, "/run", "").short_title()) == 255


def test_a_member_that_is_half_removed_does_not_go_out_with_its_other_pages(tmp_path: Path) -> None:
    """`interlcm forget` was killed after its first step."""
    output = str(tmp_path)
    pages: dict[str, Any] = {"pages": 2, "restored_uri": f"{tmp_path}/restored/a.tar/a.tif"}
    write_index(output, [index_row("a.tif")])
    first, second = result_row("a.tif", **pages), result_row("a.tif", **pages, photo_id="id-a.tif-p2", page=2)
    write_part([first, second], output, "1")
    with query.streaming(output) as rows:
        assert photos.counts(rows).kept == 2
    write_part([result_row("a.tif", "removed")], output, "2")
    with query.streaming(output) as rows:
        assert photos.counts(rows) == photos.Counts(0, {})
