"""What follows a run, where a library has it: OUTPUT in a bucket, photos signed, the work on Ray."""

from __future__ import annotations

import io
import json
from typing import Any

import bagit
import c2pa
import pytest

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.counts import counts
from tests.support.archives import put, tar_bytes
from tests.support.certificates import signer, trusted
from tests.support.command import Interlcm
from tests.support.pictures import astronaut, encoded, hopper, side_by_side

PICTURES = {"a.png": astronaut(), "both.png": side_by_side(astronaut(), hopper(160)), "h.png": hopper()}


def rows(output: str) -> dict[str, dict[str, Any]]:
    """The newest row of each member."""
    asked = query.reading(output, lambda connection: query.run(connection, "FROM newest").to_pylist())
    return {row["member"]: row for row in asked}


def files(output: str) -> set[str]:
    found = {name for name, _ in storage.list_files(output)}
    return {name for name in found if name.startswith(("restored/", "withdrawn/"))}


def signed(data: bytes) -> bool:
    """Whether C2PA's reader trusts the signature of a PNG."""
    settings = {"verify": {"verify_trust": True}, "trust": {"user_anchors": trusted()}}
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader("image/png", io.BytesIO(data), context=context) as reader,
    ):
        return bool(reader.get_validation_state() == "Trusted")


@pytest.mark.slow  # daily: decide, forget and bags on a local disk, runs on S3
@pytest.mark.usefixtures("ray_cluster")
def test_decide_forget_and_export(
    bucket: str, tiny_weights: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    interlcm, output, bag = Interlcm(capsys), f"{bucket}/out", f"{bucket}/bag"
    source = put(bucket, "in/scans.tar", tar_bytes({name: encoded(one, "PNG") for name, one in PICTURES.items()}))
    key, chain = map(str, signer(tmp_path_factory.mktemp("signer")))
    keys = ("--c2pa-key", key, "--c2pa-cert", chain)
    options = ("--output", output, "--weights", tiny_weights, "--detector", "haar", "--engine", "here", *keys)
    assert interlcm("restore", source, *options) == 0, interlcm.err
    first = rows(output)
    assert files(output) == {f"restored/scans.tar/{name}.png" for name in PICTURES}

    said = [("a.png", None, "reject"), ("both.png", 0, "reject"), ("h.png", None, "accept")]
    names = ("photo_id", "face_index", "decision", "decided_at", "reviewer", "restored_sha256")
    records = [
        (first[name]["photo_id"], face, word, "2026-03-01T10:00:00Z", "Anna", first[name]["restored_sha256"])
        for name, face, word in said
    ]
    decisions = [dict(zip(names, record, strict=True), comment="") for record in records]
    storage.write_bytes(f"{output}/decisions/anna.json", json.dumps(decisions).encode())
    decide = ("decide", output, "--engine", "ray", "--actors", "1")
    assert interlcm(*decide) == 1
    assert (
        interlcm.err.splitlines()[-1] == f"interlcm: {output}: its photos are signed; give --c2pa-key and --c2pa-cert"
    )
    assert not storage.exists(f"{output}/run.lock.json")
    assert interlcm(*decide, *keys) == 0, interlcm.err
    assert "both.png: restore again, face_index 0: strength 0 (Anna)" in interlcm.out
    assert files(output) == {
        f"{folder}/scans.tar/{name}.png"
        for folder, name in (("withdrawn", "a.png"), ("restored", "both.png"), ("restored", "h.png"))
    }
    after = rows(output)
    assert {name: (row["status"], row["reviewed_by"]) for name, row in after.items()} == {
        "a.png": ("withdrawn", "Anna"), "both.png": ("restored", "Anna"), "h.png": ("restored", "Anna"),
    }  # fmt: skip
    made = after["both.png"]
    assert [face["strength"] for face in made["faces"]] == [0, 1]
    assert made["restored_sha256"] != first["both.png"]["restored_sha256"]
    assert all(signed(storage.read_bytes(row["restored_uri"])) for row in after.values())
    assert interlcm(*decide, *keys) == 0 and "nothing to do; 3 photos with decisions" in interlcm.out
    assert interlcm("verify", output) == 0, interlcm.out + interlcm.err

    assert interlcm("export", "bag", output, "--to", bag) == 0, interlcm.err
    fetched = tmp_path_factory.mktemp("bag")
    for name, _ in storage.list_files(bag):
        put(str(fetched), name, storage.read_bytes(f"{bag}/{name}"))
    bagit.Bag(str(fetched)).validate()
    photos = {path.name for path in (fetched / "data" / "restored").rglob("*.png")}
    assert photos == {"both.png.png", "h.png.png"}

    assert interlcm("forget", output, "--where", "member = 'both.png'") == 0, interlcm.err
    assert interlcm.out.startswith("removed: 1 photo, 1 file")
    left = {name: storage.read_bytes(f"{output}/{name}") for name, _ in storage.list_files(output)}
    marks = (b"both.png", made["sha256"].encode(), made["restored_sha256"].encode())
    assert [name for name, data in left.items() if any(mark in data or mark.decode() in name for mark in marks)] == []
    found = counts(output)
    assert (found.restored, found.withdrawn, found.removed, found.adds_up) == (1, 1, 1, True)
