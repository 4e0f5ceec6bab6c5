"""The circle of a curator: look, decide, act, look again. One run, restored in this process."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.decide import in_ranges
from pipeline.manifest import query
from pipeline.run import lease
from tests.support.command import Interlcm
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side
from tests.support.review_run import write_run

BOTH = side_by_side(astronaut(), hopper(160))
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text()
(UNDECIDED,) = re.findall('--where "(status = .* NOT IN .*)"', DOCUMENTED)
REJECTED = "photo_id IN (SELECT photo_id FROM decisions WHERE decision = 'reject' AND void IS NULL)"


class Curated:
    """A run in a folder, with the commands that a curator types."""

    def __init__(self, folder: Path, weights: str, interlcm: Interlcm) -> None:
        self.folder, self.output, self.interlcm = folder, folder / "out", interlcm
        self.scans, self.exports = folder / "scans", 0
        self.options = ["--output", str(self.output), "--weights", weights, "--detector", "haar", "--engine", "here"]

    def restore(self, *options: str) -> str:
        assert self.interlcm("restore", str(self.scans), *self.options, *options) == 0, self.interlcm.err
        return self.interlcm.out

    def decide(self, *options: str) -> str:
        assert self.interlcm("decide", str(self.output), "--engine", "here", *options) == 0, self.interlcm.err
        return self.interlcm.out

    def ask(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = query.reading(str(self.output), lambda c: query.run(c, sql)).to_pylist()
        return found

    def row(self, member: str) -> dict[str, Any]:
        (row,) = self.ask(f"SELECT * FROM newest WHERE member = '{member}'")
        return row

    def export(self, member: str, decision: str, time: str, face: int | None = None, **columns: Any) -> None:
        """A file of one decision on the newest result, as the report writes it."""
        row = self.row(member)
        record = {"photo_id": row["photo_id"], "face_index": face, "decision": decision, "comment": ""}
        record |= {"decided_at": time, "reviewer": "Anna", "restored_sha256": row["restored_sha256"]}
        if face is not None:
            record["box"] = row["faces"][face]["box"]
        (self.output / "decisions").mkdir(exist_ok=True)
        self.exports += 1
        path = self.output / "decisions" / f"{self.exports}.json"
        path.write_text(json.dumps([record | columns]))

    def files(self) -> dict[str, str]:
        """Path below OUTPUT -> sha256, of restored files and those that are set aside."""
        found = [path for name in ("restored", "withdrawn") for path in (self.output / name).rglob("*")]
        return {
            str(path.relative_to(self.output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found
            if path.is_file()
        }


def test_look_decide_act_and_look_again(tmp_path: Path, tiny_weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Curated(tmp_path, tiny_weights, Interlcm(capsys))
    run.scans.mkdir()
    pictures = {"both.png": BOTH, "a.png": astronaut(), "h.png": hopper(), "no.png": coffee()}
    for name, pixels in pictures.items():
        (run.scans / name).write_bytes(encoded(pixels, "PNG"))
    run.restore()
    first, both = run.files(), run.row("both.png")
    assert sorted(first) == [f"restored/scans/{name}.png" for name in ("a.png", "both.png", "h.png")]

    # A photo is rejected; of another one face, by its place, under an index that is not its own; a third is weakened.
    run.export("a.png", "reject", "2026-03-01T10:00:00Z")
    run.export("both.png", "reject", "2026-03-01T10:01:00Z", face=0, face_index=1)
    run.export("h.png", "accept", "2026-03-01T10:02:00Z", strength=0.5)
    run.export("both.png", "accept", "2026-03-01T10:03:00Z")
    listed = run.decide("--dry-run")
    assert listed.splitlines() == [
        "a.png: withdraw (Anna)", "both.png: restore again, face_index 0: strength 0 (Anna)",
        "h.png: restore again, strength 0.5 (Anna)",
    ]  # fmt: skip
    assert run.files() == first
    said = run.decide()
    assert listed in said and "+ withdrawn +" in said
    acted = run.files()
    assert acted["withdrawn/scans/a.png.png"] == first["restored/scans/a.png.png"]
    assert sorted(acted) == ["restored/scans/both.png.png", "restored/scans/h.png.png", "withdrawn/scans/a.png.png"]

    made = run.row("both.png")
    assert [(face["strength"], face["accepted"]) for face in made["faces"]] == [(0, False), (1, True)]
    assert (made["reviewed_as"], made["reviewed_by"], made["face_count"]) == ("accept", "Anna", 1)
    after = decoded((run.output / "restored/scans/both.png.png").read_bytes())
    left, right = (np.s_[round(box[1]) : round(box[3]), round(box[0]) : round(box[2])] for box in boxes(both))
    np.testing.assert_array_equal(after[left], BOTH[left])
    assert (after[right] != BOTH[right]).any()
    half = run.row("h.png")
    assert (half["faces"][0]["strength"], half["reviewed_as"]) == (0.5, "accept")
    aside = run.row("a.png")
    assert (aside["status"], aside["reviewed_as"], len(aside["faces"])) == ("withdrawn", "reject", 1)
    assert "nothing to do; 3 photos with decisions" in run.decide() and run.files() == acted
    assert "nothing to do" in run.restore() and run.files() == acted

    # What restores photos again keeps the decisions on them; a rejected one would only come out as it was rejected.
    (run.output / "withdrawn/scans/a.png.png").unlink()
    assert "restore: 2/2 files" in run.restore("--where", "status = 'withdrawn' OR member = 'both.png'")
    assert run.files() == acted and "nothing to do" in run.decide()
    assert "nothing to do" in run.restore("--where", REJECTED) and run.files() == acted
    assert run.interlcm("verify", str(run.output), "--replay", "2") == 0
    assert run.interlcm.out.count("replay: same bytes") == 2

    # Undone, the photo comes back as it was; a decision on a result that is replaced is void.
    run.export("a.png", "", "2026-03-01T11:00:00Z")
    assert run.decide().startswith("a.png: bring back (Anna)\n")
    assert run.files()["restored/scans/a.png.png"] == first["restored/scans/a.png.png"]
    assert run.row("a.png")["reviewed_as"] is None
    run.export("a.png", "reject", "2026-03-01T12:00:00Z")
    run.decide()
    assert "restore: 2/2 files" in run.restore("--where", REJECTED, "--color-fix", "none")
    assert "nothing to do" in run.restore("--where", REJECTED, "--color-fix", "none")
    assert sorted(run.files()) == sorted(first)  # what was set aside is gone, its successor is for review
    void = run.ask("SELECT DISTINCT void, count(*) AS n FROM decisions GROUP BY void ORDER BY void")
    assert void == [{"void": "the photo was restored again since", "n": 3}, {"void": None, "n": 1}]
    run.export("both.png", "", "2026-03-01T12:00:00Z", face=1, strength=0.25)
    undecided = UNDECIDED.replace("attempt = 1", f"attempt = {run.row('both.png')['attempt']}")
    assert undecided != UNDECIDED and REJECTED in DOCUMENTED
    before = run.files()
    assert "restore: 1/1 file," in run.restore("--where", undecided, "--color-fix", "adain")  # a.png is left
    changed = {path for path, digest in run.files().items() if before[path] != digest}
    assert changed == {"restored/scans/a.png.png"}
    assert "nothing to do" in run.restore("--where", undecided, "--color-fix", "adain") and run.files() != before
    run.export("both.png", "", "2026-03-01T13:00:00Z", face=1)
    run.export("no.png", "reject", "2026-03-01T12:00:00Z")
    assert "nothing to do; 2 photos with decisions" in run.decide()
    assert "note: 4 decisions without effect" in run.interlcm.err


def test_what_cannot_be_followed_is_one_line_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, interlcm = write_run(tmp_path), Interlcm(capsys)
    with lease.held(output):
        assert interlcm("decide", output) == 1 and "is working on it" in interlcm.line()
    assert interlcm("decide", str(tmp_path / "nowhere")) == 1 and "no run there" in interlcm.line()
    assert interlcm("decide", output, "--c2pa-key", "key.pem") == 2 and "give both" in interlcm.line()
    run = Curated(tmp_path, "demo", interlcm)
    run.export("box2/pair.png", "reject", "2026-03-01T10:00:00Z", face=0)
    before = run.files()
    assert interlcm("decide", output) == 1 and "run.json: no attempt with settings" in interlcm.line()
    assert run.files() == before and run.row("box2/pair.png")["status"] == "restored"


def test_many_faces_are_told_in_few_words() -> None:
    assert [in_ranges(numbers) for numbers in ([3], [0, 1], [0, 2, 3, 4, 6, 7])] == ["3", "0, 1", "0, 2 to 4, 6, 7"]


def boxes(row: dict[str, Any]) -> list[list[float]]:
    return [face["box"] for face in row["faces"]]
