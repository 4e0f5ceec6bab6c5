"""`interlcm evaluate` as a user types it, on object storage: the table, the Parquet file, the grid, and wrong usage."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from interlcm.metrics import psnr
from interlcm.weights_index import digest
from jobs.__main__ import main
from jobs.evaluate import print_table
from pipeline import storage
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.schema import EVALUATION_SCHEMA
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.pictures import astronaut, encoded, hopper, resized
from tests.support.stages import job

FACES = {"one": hopper(64)[:64], "two": astronaut(64), "three": resized(hopper(96)[:96], 64)}
BROKEN = encoded(astronaut(64))[:700]


@dataclass
class Done:
    """The output of one start of the command."""

    printed: str
    rows: dict[str, dict[str, Any]]
    grid: Image.Image


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str, module_bucket: str) -> Done:
    bucket = module_bucket
    grid = tmp_path_factory.mktemp("evaluate") / "grid.png"
    hq = {f"hq/{name}.png": encoded(face, "PNG") for name, face in FACES.items()}
    lq = {f"{name}.jpg": encoded(resized(face, 32)) for name, face in FACES.items()}
    sharp = put(bucket, "hq.zip", zip_bytes({**hq, "hq/lonely.png": hq["hq/one.png"], "hq/cut.png": hq["hq/two.png"]}))
    degraded = put(bucket, "lq.tar", tar_bytes({**lq, "cut.jpg": BROKEN, "stray.jpg": lq["one.jpg"]}))
    text = io.StringIO()
    options = ["--aligned", "--weights", tiny_weights, "--output", f"{bucket}/out", "--grid", str(grid)]
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as stopped:
        main(["evaluate", sharp, "--lq", degraded, *options])
    assert not stopped.value.code
    table = pyarrow.parquet.read_table(io.BytesIO(storage.read_bytes(f"{bucket}/out/faces.parquet")))
    assert table.schema.equals(EVALUATION_SCHEMA)
    rows = {row["lq_member"] or row["hq_member"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows
    return Done(text.getvalue(), rows, Image.open(grid))


def test_every_file_has_its_row(done: Done) -> None:
    assert {name: (row["status"], row["error_type"]) for name, row in done.rows.items()} == {
        **dict.fromkeys(("one.jpg", "two.jpg", "three.jpg"), ("measured", None)),
        "cut.jpg": ("failed", "truncated"),
        "stray.jpg": ("failed", "no_partner"),
        "hq/lonely.png": ("failed", "no_partner"),
    }
    assert done.rows["cut.jpg"]["error"].startswith("LQ picture: ")
    assert done.rows["two.jpg"]["hq_member"] == "hq/two.png"
    assert "without a partner: 2 (stray.jpg, hq/lonely.png)" in done.printed


def test_a_row_says_what_it_was_made_with(done: Done, tiny_weights: str) -> None:
    row = done.rows["one.jpg"]
    settings = json.loads(row["settings"])
    assert row["weights_digest"] == digest(Path(tiny_weights), "3step")
    assert (settings["steps"], settings["aligned"], settings["degradations"]) == (4, True, None)
    assert row["seed"] is not None and row["face_index"] == 0


def test_the_table_has_the_means_of_the_rows(done: Done) -> None:
    line = next(line for line in done.printed.splitlines() if line.startswith("PSNR ↑ (dB)"))
    means = [float(number) for number in re.findall(r"(\d+\.\d+) \[", line)]
    measured = [row for row in done.rows.values() if row["status"] == "measured"]
    expected = [np.mean([row[f"psnr_{name}"] for row in measured]) for name in ("lq", "restored")]
    assert means == pytest.approx(expected, abs=0.01)
    low, high = map(float, re.findall(r"\[(\d+\.\d+), (\d+\.\d+)\]", line)[0])
    assert min(row["psnr_lq"] for row in measured) - 0.01 <= low < means[0] < high
    assert "dE00 ↓ (CIEDE2000)" in done.printed and "LPIPS ↓" not in done.printed
    (left_out,) = [line for line in done.printed.splitlines() if line.startswith("left out, without weights: ")]
    assert "LPIPS (metrics/vgg16-397923af.pth), identity (face/recognition_arcface_ir_se50.pth)" in left_out
    assert "FID (metrics/pt_inception-2015-12-05-6726825d.pth)" in left_out and "MUSIQ" in left_out
    assert "landmarks (" in left_out


def test_the_grid_shows_what_was_measured(done: Done) -> None:
    cells = np.asarray(done.grid)[16:].astype(int)  # below the names
    assert cells.shape == (3 * 36 - 4, 3 * 36 - 4, 3)
    faces = [[cells[36 * r : 36 * r + 32, 36 * c : 36 * c + 32].astype(np.uint8) for c in range(3)] for r in range(3)]
    shown = [[psnr(lq, hq), psnr(restored, hq)] for lq, restored, hq in faces]
    rows = [done.rows[name] for name in ("one.jpg", "two.jpg", "three.jpg")]
    assert np.array(shown) == pytest.approx(
        np.array([[row["psnr_lq"], row["psnr_restored"]] for row in rows]), rel=1e-4
    )


def test_the_table_names_what_is_left_out_without_hq(tiny_weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Evaluation(job("out", tiny_weights), None, tiny_weights, {}), {}, paired=False)
    lines = capsys.readouterr().out.splitlines()
    assert "left out, without HQ: PSNR, SSIM, dE00, LPIPS, identity, landmarks, FID" in lines
    assert not any(line.startswith(("PSNR", "FID")) for line in lines)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the one line of a command that cannot do its work."""
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, line


def test_what_cannot_be_evaluated_ends_in_one_line(
    tmp_path: Path, tiny_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ("--weights", tiny_weights)
    empty = put(str(tmp_path), "empty.zip", b"PK\5\6" + bytes(18))
    one = put(str(tmp_path), "one.zip", zip_bytes({"a.png": b"a"}))
    other = put(str(tmp_path), "other.zip", zip_bytes({"b.png": b"b"}))
    missing = str(tmp_path / "missing.zip")
    assert refused(capsys, empty, *weights) == (
        1,
        f"interlcm: {empty}: no face could be measured: they hold no pictures",
    )
    code, line = refused(capsys, one, "--lq", other, *weights)
    assert code == 1 and line.endswith("no face could be measured: no HQ picture is named b (and 1 more)")
    assert refused(capsys, missing, *weights) == (1, f"interlcm: {missing}: no such file or folder; check the name")
    code, line = refused(capsys, one, "--degradation", "nonesuch", *weights)
    assert code == 2 and "no preset 'nonesuch'" in line
    code, line = refused(capsys, one, *weights, "--grid", str(tmp_path / "nowhere" / "grid.png"))
    assert code == 2 and "there is no folder" in line
    code, line = refused(capsys, "--grid", "grid.text")
    assert code == 2 and "give it the suffix of a picture format" in line
    code, line = refused(capsys, "--output", str(tmp_path / "out"))
    assert code == 2 and "name HQ or --lq" in line
    code, line = refused(capsys, "--task", "inpaint")
    assert code == 2 and "--task inpaint does not apply to the portrait: name HQ or --lq" in line
    code, line = refused(capsys, one, "--task", "colorize", *weights)
    assert code == 1 and "--task colorize" in line
