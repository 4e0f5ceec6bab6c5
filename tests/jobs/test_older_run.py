"""A run that an older version began is continued: older_run.zip is what commit 5ab006b left in a bucket.

That version had no format in run.json, schema 3 of the manifest, no copies of the index and fewer settings. The run had
an archive of four photos, of which --where left out the last one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
import s3fs

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from pipeline.run.attempts import FORMAT
from tests.support.ceph import ACCESS_KEY, SECRET_KEY, CephGateway
from tests.support.command import Interlcm

FILES = Path(__file__).parents[1] / "support" / "older_run.zip"
BUCKET = "s3://run-of-an-older-version"  # photo_ids depend on it
OUTPUT = f"{BUCKET}/out"


@pytest.fixture
def left(s3: CephGateway, fresh_clients: None) -> dict[str, bytes]:
    """The files in the bucket. Their ETags are those that they had, for they come from the bytes."""
    client = s3fs.S3FileSystem(endpoint_url=s3.endpoint, key=ACCESS_KEY, secret=SECRET_KEY, skip_instance_cache=True)
    client.mkdir(BUCKET)
    with ZipFile(FILES) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    for name, data in found.items():
        storage.write_bytes(f"{BUCKET}/{name}", data)
    return found


def test_a_run_of_an_older_version_is_continued(left: dict[str, bytes], interlcm: Interlcm) -> None:
    assert "format" not in json.loads(left["out/run.json"])
    assert interlcm("status", OUTPUT) == 0, interlcm.err
    assert "pending: start the same interlcm restore again to continue" in interlcm.out
    before = counts(OUTPUT)
    assert (before.restored, before.no_face, before.failed, before.pending, before.adds_up) == (1, 1, 1, 1, True)
    assert interlcm("restore", f"{BUCKET}/scans.tar", "--output", OUTPUT, "--engine", "here") == 0, interlcm.err
    assert "other settings" not in interlcm.out, interlcm.out
    assert counts(OUTPUT) == replace(before, restored=2, faces=2, pending=0)
    assert storage.read_bytes(f"{OUTPUT}/restored/scans.tar/a.jpg.jpg") == left["out/restored/scans.tar/a.jpg.jpg"]
    run_json = json.loads(storage.read_bytes(f"{OUTPUT}/run.json"))
    first, second = run_json["attempts"]
    assert (run_json["format"], [first]) == (FORMAT, json.loads(left["out/run.json"])["attempts"])
    digests = ("settings_digest", "weights_digest")
    rows = query.reading(OUTPUT, lambda connection: query.run(connection, "FROM photos ORDER BY member").to_pylist())
    assert [(row["member"], row["attempt"]) for row in rows] == [*((f"{name}.jpg", 1) for name in "abc"), ("d.jpg", 2)]
    assert [rows[3][name] for name in digests] == [second[name] for name in digests]
    assert [rows[0][name] for name in digests] == [first[name] for name in digests]
    for command in (["verify", OUTPUT], ["query", OUTPUT, "--summary"], ["status", OUTPUT, "--why", "c.jpg"]):
        assert interlcm(*command) == 0, interlcm.err
    assert "truncated" in interlcm.out and interlcm.err == ""
