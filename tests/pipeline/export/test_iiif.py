"""IIIF: manifests and collections that the community's own models read, and tiles that cover each picture."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.__main__ import main
from pipeline import storage
from pipeline.export import iiif, iiif_files
from pipeline.export.iiif_files import write_iiif
from pipeline.export.tiles import pyramid
from pipeline.manifest import query
from pipeline.run import lease
from pipeline.run.forget import find, forget
from pipeline.storage import client as storage_client
from tests.support.missing_packages import uninstall
from tests.support.pictures import hopper
from tests.support.review_run import FLAGGED
from tests.support.rows import result_row

BASE = "https://images.example.org/iiif"


@pytest.fixture(scope="module")
def export(decided_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("iiif")
    *_, shown = write_iiif(decided_run, str(folder), f"{BASE}/")
    assert (shown.done, shown.failed, shown.collection) == (3, 0, f"{BASE}/collection.json")
    return folder


def at(export: Path, url: str) -> Any:
    """The JSON at a URL of the export."""
    assert url.startswith(f"{BASE}/")
    return json.loads((export / url.removeprefix(f"{BASE}/")).read_text())


def manifests(export: Path) -> dict[str, Any]:
    """All manifests by their labels, reached from the top as a viewer does."""
    found = {}
    for branch in at(export, f"{BASE}/collection.json")["items"]:
        for leaf in at(export, branch["id"])["items"]:
            found[leaf["label"]["none"][0]] = at(export, leaf["id"])
    return found


def test_the_models_of_the_community_read_all_of_it(export: Path) -> None:
    """iiif-prezi3 is made from the JSON schema of the IIIF validator."""
    if not os.environ.get("CI"):
        pytest.importorskip("iiif_prezi3", reason="needs iiif-prezi3, which make install installs")
    from iiif_prezi3 import Collection, Manifest
    from pydantic import ValidationError

    for shown in manifests(export).values():
        assert Manifest(**shown).items[0].annotations[0].items
        with pytest.raises(ValidationError):
            Manifest(**{name: value for name, value in shown.items() if name != "label"})
    for file in [export / "collection.json", *(export / "collections").iterdir()]:
        assert Collection(**json.loads(file.read_text())).items


def test_a_photo_is_a_choice_of_two_pictures_on_one_canvas(export: Path) -> None:
    found = manifests(export)
    assert list(found) == ["box1/astronaut.jpg", "box1/hopper.jpg", "box2/pair.png"]
    (canvas,) = found["box2/pair.png"]["items"]
    (painting,) = canvas["items"][0]["items"]
    assert (painting["motivation"], painting["target"]) == ("painting", canvas["id"])
    after, before = painting["body"]["items"]
    assert after["label"] != before["label"]
    for picture in (after, before):
        assert (picture["width"], picture["height"]) == (canvas["width"], canvas["height"]) == (1024, 512)
        assert picture["id"] == f"{picture['service'][0]['id']}/full/max/0/default.jpg"
        with Image.open(export / picture["id"].removeprefix(f"{BASE}/")) as image:
            assert image.size == (1024, 512)


def test_faces_are_annotations_with_their_reason_for_review(export: Path) -> None:
    (canvas,) = manifests(export)["box2/pair.png"]["items"]
    faces = canvas["annotations"][0]["items"]
    assert [face["target"] for face in faces] == [
        f"{canvas['id']}#xywh=137,93,196,210", f"{canvas['id']}#xywh=659,91,235,252",
    ]  # fmt: skip
    assert [FLAGGED in face["body"]["value"] for face in faces] == [False, True]


def test_a_photo_without_a_restored_face_is_its_source_alone() -> None:
    names = ("software_version", "reviewed_as", "weights_digest", "sha256", "restored_sha256")
    row = result_row("a.jpg", "no_face") | dict.fromkeys(names) | {"page": 1, "pages": 1}
    sizes = dict.fromkeys(("after", "before"), [(8, 6)] * 3)
    shown = iiif.manifest(row, BASE, sizes)
    body = shown["items"][0]["items"][0]["items"][0]["body"]
    assert body["id"].endswith("/before/full/max/0/default.jpg") and "requiredStatement" not in shown


def test_an_upper_level_covers_the_picture_too(export: Path) -> None:
    """Of each scale of info.json, the tiles that a viewer asks for are there."""
    (canvas,) = manifests(export)["box2/pair.png"]["items"]
    address = canvas["items"][0]["items"][0]["body"]["items"][0]["service"][0]["id"]
    info = at(export, f"{address}/info.json")
    assert (info["id"], info["profile"], info["width"]) == (address, "level0", 1024)
    place = export / address.removeprefix(f"{BASE}/")
    side = info["tiles"][0]["width"]
    for scale in info["tiles"][0]["scaleFactors"][:-1]:
        for x in range(0, info["width"], side * scale):
            for y in range(0, info["height"], side * scale):
                width, height = min(side * scale, info["width"] - x), min(side * scale, info["height"] - y)
                size = f"{-(-width // scale)},{-(-height // scale)}"
                assert (place / f"{x},{y},{width},{height}" / size / "0" / "default.jpg").exists()
    for size in info["sizes"]:
        assert (place / "full" / f"{size['width']},{size['height']}" / "0" / "default.jpg").exists()


def test_a_large_scan_is_given_out_whole_only_reduced() -> None:
    files: dict[str, bytes] = {}
    pixels = np.tile(hopper(512), (2, 9, 1))
    sizes = pyramid(pixels, "after", BASE, files)
    assert sizes[0] == (pixels.shape[1], pixels.shape[0]) and pixels.shape[1] > 4096
    info = json.loads(files["after/info.json"])
    assert (sizes[1][0], info["maxWidth"]) == (4096, 4096)
    with Image.open(io.BytesIO(files["after/full/max/0/default.jpg"])) as image:
        assert image.size == sizes[1]


def test_a_second_start_keeps_the_tiles(decided_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(decided_run, run)
    place = str(tmp_path / "iiif")
    list(write_iiif(str(run), place, BASE))
    asked = []
    real = iiif_files.tile

    def tile(row: Any, data: Any, task: Any) -> Any:
        asked.append(row["member"])
        return real(row, data, task)

    monkeypatch.setattr(iiif_files, "tile", tile)
    address = manifests(Path(place))["box1/astronaut.jpg"]["id"]
    Path(place, address.removeprefix(f"{BASE}/")).with_name("tiles.json").unlink()
    *_, shown = write_iiif(str(run), place, BASE)
    assert (asked, shown.done) == (["box1/astronaut.jpg"], 3)
    *_, shown = write_iiif(str(run), place, "https://elsewhere.example.org")  # info.json has its own address
    assert len(asked) == 4

    # Since then one photo was removed for good and one rejected: their files go, also those of what was exported more.
    output = str(run)
    with query.connect(output) as connection:
        ids = {row["member"]: row["photo_id"] for row in query.run(connection, "FROM photos").to_pylist()}
    gone, rejected = ids["box1/astronaut.jpg"], ids["box1/hopper.jpg"]
    shutil.copytree(Path(place, iiif.folder_of(gone)), Path(place, iiif.folder_of(f"{gone}-p2")))
    shutil.copy(Path(place, "collections/000001.json"), Path(place, "collections/000002.json"))
    said = {"photo_id": rejected, "face_index": "", "decision": "reject", "comment": "", "decided_at": "2026-03-01"}
    (run / "decisions/later.json").write_text(json.dumps([said]))
    with lease.held(output):
        forget(output, find(output, "member = 'box1/astronaut.jpg'"), None)
    *_, shown = write_iiif(output, place, BASE)
    assert shown.done == 1 and list(manifests(Path(place))) == ["box2/pair.png"]
    files = [path for path in Path(place).rglob("*") if path.is_file()]
    assert not any(gone in str(path) or rejected in str(path) for path in files)
    assert not any(b"astronaut" in path.read_bytes() or b"hopper" in path.read_bytes() for path in files)


def test_in_a_bucket_it_is_the_same_and_says_what_it_is(
    decided_run: str, export: Path, bucket: str, fresh_clients: None
) -> None:
    list(write_iiif(decided_run, f"{bucket}/iiif", BASE))
    files = {str(path.relative_to(export)): path.read_bytes() for path in export.rglob("*") if path.is_file()}
    there = {name: storage.read_bytes(f"{bucket}/iiif/{name}") for name, _ in storage.list_files(f"{bucket}/iiif")}
    assert there == files
    fs, _ = storage_client.filesystem(bucket)
    kinds = {Path(name).suffix: fs.info(f"{bucket}/iiif/{name}")["ContentType"] for name in files}
    assert kinds == {".json": "application/json", ".jpg": "image/jpeg"}


def test_a_photo_whose_source_is_gone_is_named(decided_run: str, tmp_path: Path) -> None:
    run, archive = tmp_path / "run", Path(decided_run).parent / "scans.tar"
    shutil.copytree(decided_run, run)
    hidden = archive.rename(archive.with_suffix(".away"))
    try:
        *_, shown = write_iiif(str(run), str(tmp_path / "iiif"), BASE)
    finally:
        hidden.rename(archive)
    assert (shown.done, shown.failed) == (0, 3) and shown.reason.count("scans.tar: ") == 1
    assert json.loads(storage.read_bytes(str(tmp_path / "iiif" / "collection.json")))["items"] == []


def test_an_address_is_needed(decided_run: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "iiif", decided_run, "--to", place, "--base-url", "images"])
    assert ended.value.code == 2 and "give the address of the folder" in capsys.readouterr().err


def test_missing_decoders_are_noticed_before_threads_begin(
    decided_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall("pipeline.photos.bit_depth", "pipeline.export.tiles", monkeypatch)  # for the decoders below it
    monkeypatch.setattr(iiif_files, "spread", lambda *_: pytest.fail("threads began"))
    with pytest.raises(ModuleNotFoundError, match="bit_depth"):
        list(write_iiif(decided_run, str(tmp_path), BASE))
