"""Bags: bagit-python validates them, a killed export continues, and what differs never gets in."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import bagit
import pytest

from jobs.__main__ import main
from pipeline import storage
from pipeline.export import bag as export_bag
from pipeline.export.bag import write_bag
from pipeline.export.photos import ExportError
from pipeline.index.bags import Checksums
from pipeline.manifest import settled
from pipeline.manifest.compaction import compact
from pipeline.manifest.write import write_part
from pipeline.storage.output import Output
from pipeline.verify.files import verify
from tests.support.rows import index_row, result_row, write_index


def written(output: str, place: str, **info: str) -> export_bag.Bagged:
    *_, last = write_bag(output, place, list(info.items()))
    return last


@pytest.fixture(scope="module")
def bag(decided_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bag of the decided run."""
    place = tmp_path_factory.mktemp("bags") / "bag"
    written(decided_run, str(place), **{"Source-Organization": "Library"})
    return place


def payload(bag: Path) -> set[str]:
    return {str(path.relative_to(bag)) for path in (bag / "data").rglob("*") if path.is_file()}


def test_bagit_validates_it(bag: Path) -> None:
    found = bagit.Bag(str(bag))
    found.validate()
    assert found.version_info == (1, 0)
    sizes = [(bag / path).stat().st_size for path in payload(bag)]
    assert found.info["Payload-Oxum"] == f"{sum(sizes)}.{len(sizes)}"
    assert found.info["External-Identifier"] == "1"
    assert found.info["Source-Organization"] == "Library"
    assert found.info["Internal-Sender-Description"].endswith("left out: 1 failed, 1 no_face, 1 rejected")
    assert sorted(path.name for path in bag.iterdir()) == [
        "bag-info.txt", "bagit.txt", "data", "manifest-sha256.txt", "tagmanifest-sha256.txt",
    ]  # fmt: skip


def test_it_holds_the_run_without_what_was_rejected(bag: Path) -> None:
    photos = {path for path in payload(bag) if path.startswith("data/restored/")}
    assert photos == {
        f"data/restored/scans.tar/{name}.png" for name in ("box1/astronaut.jpg", "box1/hopper.jpg", "box2/pair.png")
    }
    others = {path.split("/")[1] for path in payload(bag) - photos}
    assert others == {"decisions", "index", "manifest", "premis", "run.json"}
    *_, checked = verify(str(bag / "data"))  # a run of its own, without the rejected photo
    assert (checked.total, checked.problems) == (3, [])


def test_a_killed_export_goes_on(decided_run: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.export.photos.CHUNK", 2)  # chunks of the seven members: 2, 2, 2
    steps = write_bag(decided_run, place, [])
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    with pytest.raises(bagit.BagError):
        bagit.Bag(place)
    stale = Path(place, "data", "restored", "scans.tar", "gone.jpg.png")
    stale.write_bytes(b"of a photo that was withdrawn since")
    assert list(Path(place, "unfinished", "scans.tar").iterdir())
    copied = []
    real = export_bag.copy

    def copy(source: str, target: str, expected: str | None = None) -> str:
        copied.append(target)
        return real(source, target, expected)

    monkeypatch.setattr(export_bag, "copy", copy)
    before = {path for path in payload(Path(place)) if path.startswith("data/restored/")} - {
        str(stale.relative_to(place))
    }
    assert written(decided_run, place).photos == 3
    assert before and not {str(Path(target).relative_to(place)) for target in copied} & before
    assert not stale.exists()
    bagit.Bag(place).validate()
    with pytest.raises(ExportError, match="a complete bag; name another place"):
        written(decided_run, place)


def test_a_file_that_differs_from_its_row_gets_nowhere(decided_run: str, tmp_path: Path, place: str) -> None:
    output = tmp_path / "copy"
    shutil.copytree(decided_run, output)
    changed = output / "restored" / "scans.tar" / "box1" / "hopper.jpg.png"
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(ExportError, match=r"hopper.jpg.png: differs from its row in the manifest"):
        written(str(output), place)
    assert not Path(place, "data", "restored", "scans.tar", "box1", "hopper.jpg.png").exists()
    assert not Path(place, "manifest-sha256.txt").exists()


def test_a_place_with_other_files_is_left_alone(decided_run: str, place: str) -> None:
    Path(place).mkdir()
    Path(place, "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files; name an empty or a new folder"):
        written(decided_run, place)
    assert [path.name for path in Path(place).iterdir()] == ["mine.txt"]


def run_with_names(folder: Path, names: list[str]) -> str:
    output = str(folder / "run")
    data = b"restored"
    rows: list[dict[str, Any]] = []
    for name in names:
        uri = storage.join(output, "restored", "a.tar", f"{name}.jpg")
        storage.write_bytes(uri, data)
        known: dict[str, Any] = {
            "restored_uri": uri,
            "restored_sha256": hashlib.sha256(data).hexdigest(),
            "format": "jpeg",
        }
        rows.append(result_row(name, **known))
    write_index(output, [index_row(name) for name in names])
    write_part(rows, output, "1")
    return output


def test_what_compaction_knows_of_the_manifest_goes_along(tmp_path: Path, place: str) -> None:
    """So that a question to a bag on object storage asks for as little as one to the run."""
    output = run_with_names(tmp_path, ["a", "b"])
    write_part([result_row("b", "failed", minute=1)], output, "2")
    compact(output)
    written(output, place)
    run, copy = (settled.read_settled(uri, dict(Output(uri).manifest_files())) for uri in (output, f"{place}/data"))
    assert run and copy == run
    bagit.Bag(place).validate()


def test_a_photo_that_was_rejected_for_a_while(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark of the first start says nothing about a file that the second one removed."""
    output = run_with_names(tmp_path, ["a", "b"])
    rejected = {"photo_id": "id-a", "face_index": None, "decision": "reject", "comment": ""}
    decisions = Path(output, "decisions", "one.json")
    decisions.parent.mkdir()
    with monkeypatch.context() as killed:
        killed.setattr(export_bag, "seal", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for said in ([], [rejected | {"decided_at": "2026-02-01T10:00:00Z"}]):
            decisions.write_text(json.dumps(said))
            with pytest.raises(KeyboardInterrupt):
                written(output, place)
    assert not Path(place, "data", "restored", "a.tar", "a.jpg").exists()
    decisions.write_text("[]")
    assert written(output, place).photos == 2
    bagit.Bag(place).validate()


def test_line_ends_in_names_are_escaped(tmp_path: Path, place: str) -> None:
    assert written(run_with_names(tmp_path, ["two\nlines.tif", "back\rback.tif"]), place).photos == 2
    lines = Path(place, "manifest-sha256.txt").read_bytes().split(b"\n")
    found = {line.partition(b"  ")[2] for line in lines if b"restored" in line}
    assert found == {b"data/restored/a.tar/two%0Alines.tif.jpg", b"data/restored/a.tar/back%0Dback.tif.jpg"}
    bagit.Bag(place).validate()


def test_a_percent_sign_is_escaped_as_the_standard_asks(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = run_with_names(tmp_path, ["100%.tif", "a%20b.tif"])
    with pytest.raises(SystemExit) as ended:
        main(["export", "bag", output, "--to", place])
    said = capsys.readouterr()
    assert not ended.value.code and "note: 2 names with a percent sign" in said.err
    assert "data/restored/a.tar/a%2520b.tif.jpg\n" in Path(place, "manifest-sha256.txt").read_text()
    sums = Checksums(place, ("",))  # as an index of this bag reads it
    assert sums.of("data/restored/a.tar/100%.tif.jpg") == f"sha256:{hashlib.sha256(b'restored').hexdigest()}"


@pytest.mark.parametrize("info", ["Payload-Oxum=1.1", "no value", "two\nlines=x"])
def test_info_that_cannot_be_written_is_refused(
    info: str, decided_run: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "bag", decided_run, "--to", place, "--info", info])
    assert ended.value.code == 2 and "--info" in capsys.readouterr().err
    assert not Path(place).exists()


def test_on_object_storage(decided_run: str, bucket: str, tmp_path: Path) -> None:
    place = f"{bucket}/deposit/bag"
    assert written(decided_run, place).photos == 3
    for name, _ in storage.list_files(place):
        target = tmp_path / "fetched" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(storage.read_bytes(storage.join(place, name)))
    bagit.Bag(str(tmp_path / "fetched")).validate()
