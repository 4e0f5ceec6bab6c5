"""A whole run from a real S3 server (tests/support/ceph.py) to the same; weights from there too.

New accessions join an older index, of which an archive is gone: that costs its own rows only.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from jobs import restore
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from tests.support.archives import index_sources, put, tar_bytes, zip_bytes
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper

pytestmark = pytest.mark.usefixtures("ray_cluster")

SOLVAY = Path(__file__).parents[4] / "shared" / "photos" / "Solvay_conference_1927.jpg"


def tar_members() -> dict[str, bytes]:
    group = {"1927/solvay.jpg": SOLVAY.read_bytes()} if SOLVAY.is_file() else {}
    return group | {"astronaut.jpg": encoded(astronaut()), "cut.jpg": encoded(hopper())[:2000]}


def sources(bucket: str) -> list[str]:
    """A tar, a zip, a tar.gz and a folder of loose files."""
    put(bucket, "in/loose/box 1/hopper ü.png", encoded(hopper(), "PNG"))
    put(bucket, "in/loose/notes.txt", b"a text")
    return [
        put(bucket, "in/scans.tar", tar_bytes(tar_members())),
        put(
            bucket,
            "in/more.zip",
            zip_bytes({"a/hopper.jpg": encoded(hopper()), "a/coffee.jpg": encoded(coffee())}),
        ),
        put(bucket, "in/more.tar.gz", tar_bytes({"./hopper.jpg": encoded(hopper())}, "w:gz")),
        f"{bucket}/in/loose",
    ]


def start(sources: list[str], output: str, weights: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        restore.run(restore.Request(sources, output, Settings(weights=weights), actors=(1, 1)))
    return text.getvalue()


def rows(output: str, sql: str) -> list[dict[str, Any]]:
    with query.connect(output) as connection:
        return query.run(connection, sql).to_pylist()


def test_from_s3_to_s3(bucket: str, tiny_weights: str) -> None:
    weights, output = f"{bucket}/weights", f"{bucket}/out"
    for name, _ in storage.list_files(tiny_weights):
        put(weights, name, Path(tiny_weights, name).read_bytes())
    named = sources(bucket)
    gone = put(bucket, "in/gone.tar", tar_bytes({"a.jpg": encoded(hopper())}))
    index_sources([gone], output)  # an older accession, which cannot be read any more
    storage.remove(gone)
    before = storage.list_files(f"{bucket}/in")
    start(named, output, weights)

    found = counts(output)
    group = SOLVAY.is_file()
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (8 + group, 4 + group, 1, 1, 2, 0)
    assert found.adds_up
    assert found.failures == {"truncated": 1, "archive_unreadable": 1}
    if group:
        (solvay,) = rows(output, "SELECT face_count, width, height FROM photos WHERE member = '1927/solvay.jpg'")
        assert 27 <= solvay["face_count"] <= 32  # 29 sitters
        assert (solvay["width"], solvay["height"]) == (1680, 870)
        sql = "SELECT count(*) AS n, count(DISTINCT seed) AS seeds FROM faces WHERE member = '1927/solvay.jpg'"
        assert rows(output, sql) == [{"n": solvay["face_count"], "seeds": solvay["face_count"]}]

    restored = rows(output, "SELECT restored_uri, width, height FROM photos WHERE status = 'restored'")
    for row in restored:
        assert decoded(storage.read_bytes(row["restored_uri"])).shape == (row["height"], row["width"], 3)
    names = {name for name, _ in storage.list_files(f"{output}/restored")}
    assert {f"{output}/restored/{name}" for name in names} == {row["restored_uri"] for row in restored}
    assert {"loose/box 1/hopper ü.png.png", "more.tar.gz/hopper.jpg.jpg", "more.zip/a/hopper.jpg.jpg"} < names

    assert storage.list_files(f"{bucket}/in") == before  # masters are never touched
    written = storage.list_files(output)
    assert {name.split("/")[0] for name, _ in written} == {"run.json", "index", "manifest", "restored"}
    assert not any(b"testsecret" in storage.read_bytes(f"{output}/{name}") for name, _ in written)

    assert "restore: 0/0 photos" in start(named, output, weights)
    assert storage.list_files(output) == written
