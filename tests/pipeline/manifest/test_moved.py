"""A run that was moved or copied: one rule says where its restored files are, in SQL and in Python."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.index.files import index_files
from pipeline.index.sources import Source
from pipeline.manifest import query
from pipeline.manifest.compaction import compact
from pipeline.manifest.write import write_part
from pipeline.storage.output import Output
from tests.support.rows import face, index_row, result_row, write_index

SOURCES = ("s3://b/scans/a.tar", "/data/a.tar", "/data/box 7/", "s3://bucket", "/", "/data/restored")
BEFORE = ("/old/out", "s3://archive/restored", "/x/restored/a.tar-restored", "/x/withdrawn/a.tar", "/restored/restored")
PATHS = ("x.jpg.jpg", "restored/a.tar/x.jpg", "withdrawn/a.tar/x.jpg", "restored/restored/x.jpg")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with files in many places, some of which an earlier OUTPUT had."""
    uri = str(tmp_path_factory.mktemp("moved") / "it's there")
    named = index_files([Source(source, "archive") for source in SOURCES], uri, [])
    assert [name for _, name, _ in named][1] == f"a.tar-{hashlib.sha256(b'/data/a.tar').hexdigest()[:8]}"
    members: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for source, name, _ in named:
        for before in (*BEFORE, uri):
            for path in PATHS:
                member = f"{len(members)}.jpg"
                where = f"{before}/{('restored', 'withdrawn')[len(members) % 2]}/{name}/{path}"
                members.append(index_row(member, source=source.uri, archive_name=name))
                faces = [face(0)]
                rows.append(result_row(member, source=source.uri, restored_uri=where, face_count=1, faces=faces))
    rows.append(result_row("other.jpg", restored_uri="/elsewhere/other.png"))
    rows.append(result_row("none.jpg", "failed"))
    members += [index_row("other.jpg"), index_row("none.jpg")]
    write_index(uri, members)
    write_part(rows, uri, "1")
    return uri


def asked(output: str, sql: str, whole: bool = False) -> list[dict[str, Any]]:
    return query.reading(output, lambda connection: query.run(connection, sql), whole=whole).to_pylist()


def test_the_views_say_where_a_file_is_now(output: str) -> None:
    sql = """SELECT i.archive_name, m.restored_uri AS written, p.restored_uri AS now
        FROM manifest AS m JOIN photos AS p USING (photo_id) JOIN index AS i USING (photo_id)"""
    found = asked(output, sql)
    assert len(found) == len(SOURCES) * (len(BEFORE) + 1) * len(PATHS) + 2
    place = Output(output)
    for row in found:
        expected = row["written"] and place.now(row["written"], row["archive_name"])
        assert row["now"] == expected, row["written"]
    assert sum(row["now"] != row["written"] for row in found) >= len(SOURCES) * len(BEFORE) * len(PATHS)
    faces = {row["restored_uri"] for row in asked(output, "FROM faces")}
    assert faces == {row["now"] for row in found} - {"/elsewhere/other.png", None}


def test_a_folder_that_was_moved(output: str, tmp_path: Path) -> None:
    moved = shutil.copytree(output, tmp_path / "new")
    compact(str(moved))
    found = asked(str(moved), "SELECT restored_uri FROM photos WHERE restored_uri IS NOT NULL", whole=True)
    assert sum(row["restored_uri"].startswith(f"{moved}/") for row in found) == len(found) - 1
