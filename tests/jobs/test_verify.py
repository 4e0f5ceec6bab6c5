"""`interlcm verify`: what it prints, its exit codes, and photos of a whole run restored again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.__main__ import main
from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.resources import Resources
from pipeline.config.secrets import Signing
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.write import write_part
from pipeline.provenance.signing import load_signing
from pipeline.run import attempts as run_attempts
from pipeline.run.prepare import prepare
from pipeline.stages.detect import DetectFaces
from pipeline.stages.fetch import fetch
from pipeline.stages.publish import publish
from pipeline.stages.restore import RestoreFaces
from pipeline.verify import replay
from pipeline.verify.likeness import ROUNDING, difference
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.certificates import signer
from tests.support.pictures import Pixels, astronaut, coffee, encoded, hopper
from tests.support.stages import indexed


def interlcm(*arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit code, and the lines of stdout (without progress) and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    lines = [line for line in out.getvalue().splitlines() if not line.startswith("verify: ")]
    return code if isinstance(code, int) else 0, lines, err.getvalue().splitlines()


@dataclass
class Run:
    """A run whose stages were called one after the other, without a cluster."""

    output: Path
    weights: str

    def restore(self, source: Path, batch_faces: int = 8, signing: Signing | None = None, **settings: Any) -> None:
        job = prepare(str(self.output), Settings(weights=self.weights, detector="haar", **settings), signing)
        resources = Resources(batch_faces=batch_faces, threads=1)
        find, restore = DetectFaces(job), RestoreFaces(job, resources)
        pending = indexed(source, self.output)
        run_attempts.record(job, resources)
        found = [part for table in fetch(pending, job) for part in find(table)]
        publish(restore(pa.concat_tables(found)), job)

    def file(self, path: str) -> Path:
        return self.output / "restored" / path

    def publish(self, path: str, data: bytes) -> None:
        """Replace a restored file, with a matching row."""
        self.file(path).write_bytes(data)
        with query.connect(str(self.output)) as connection:
            sql = f"SELECT * FROM manifest WHERE restored_uri LIKE '%/{path}' ORDER BY finished_at DESC LIMIT 1"
            (made,) = query.run(connection, sql).to_pylist()
        made |= {"restored_sha256": hashlib.sha256(data).hexdigest(), "finished_at": datetime.now(UTC)}
        write_part([made], str(self.output), "published by hand")


@pytest.fixture
def made(tmp_path: Path, tiny_weights: str) -> Run:
    return Run(tmp_path / "out", tiny_weights)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str) -> Run:
    """Two photos with a face in lossless formats, one as JPEG, one without a face."""
    folder = tmp_path_factory.mktemp("three")
    members = {
        "a.png": encoded(astronaut(), "PNG"),
        "h.jpg": encoded(hopper(), "JPEG"),
        "h.tif": encoded(hopper(), "TIFF"),
        "c.png": encoded(coffee(), "PNG"),
    }
    made = Run(folder / "out", tiny_weights)
    made.restore(Path(put(str(folder), "a.tar", tar_bytes(members))))
    return made


@pytest.fixture
def restored(three: Run, tmp_path: Path) -> Run:
    """A copy that a test may change."""
    shutil.copytree(three.output, tmp_path / "copy")
    return Run(tmp_path / "copy", three.weights)


def test_a_run_as_the_manifest_says(restored: Run) -> None:
    output = str(restored.output)
    assert interlcm("verify", output) == (
        0,
        [
            "restored files: 3 in the manifest, 3 unchanged, 0 missing, 0 differs, 0 unreadable",
            f"{output}: all files match the manifest",
        ],
        [],
    )


def test_a_run_that_is_not(restored: Run) -> None:
    restored.file("a.tar/a.png.png").unlink()
    restored.file("a.tar/h.jpg.jpg").write_bytes(b"something else")
    put(str(restored.output), "restored/a.tar/stray.jpg", b"")
    code, out, err = interlcm("verify", str(restored.output))
    assert code == 1
    assert out == [
        "restored files: 3 in the manifest, 1 unchanged, 1 missing, 1 differs, 0 unreadable",
        f"missing: {restored.file('a.tar/a.png.png')}",
        f"differs: {restored.file('a.tar/h.jpg.jpg')}",
        f"note: a file that no row names: {restored.file('a.tar/stray.jpg')}",
        "note: such files are of killed workers or earlier results, and no part of the run; they may be removed",
    ]
    (line,) = err
    assert line.startswith(f"interlcm: {restored.output}: 2 of 3 restored files do not match the manifest; ")
    assert "interlcm restore SOURCE... --output" in line


def test_no_run_there_is_one_line(tmp_path: Path) -> None:
    code, out, err = interlcm("verify", str(tmp_path / "nowhere"))
    assert (code, out, len(err)) == (1, [], 1)
    assert "no run there" in err[0]


def replays(run: Run, *options: str) -> tuple[int, list[str], list[str]]:
    code, out, err = interlcm("verify", str(run.output), "--replay", "9", *options)
    prefix = f": {run.output}/restored/"
    return code, sorted(line.replace(prefix, " ") for line in out if line.startswith("replay")), err


def test_photos_restored_again_are_the_same_bytes(restored: Run) -> None:
    before = storage.list_files(str(restored.output))
    paths = ("a.tar/a.png.png", "a.tar/h.jpg.jpg", "a.tar/h.tif.tif")
    assert replays(restored) == (0, [f"replay: same bytes {path}" for path in paths], [])
    assert storage.list_files(str(restored.output)) == before  # nothing is written


def test_the_seed_chooses_the_photos(three: Run) -> None:
    def chosen(count: int, seed: int) -> list[str]:
        return [made["member"] for made in replay.chosen(str(three.output), count, seed)]

    assert chosen(1, 4) == chosen(1, 4)
    assert {member for seed in range(20) for member in chosen(1, seed)} == {"a.png", "h.jpg", "h.tif"}
    assert sorted(chosen(9, 0)) == ["a.png", "h.jpg", "h.tif"]


def test_settings_come_from_the_attempt_that_made_each_photo(made: Run, tmp_path: Path) -> None:
    made.restore(Path(put(str(tmp_path), "a.tar", tar_bytes({"h.jpg": encoded(hopper())}))), seed=5, format="png")
    made.restore(Path(put(str(tmp_path), "b.zip", zip_bytes({"a.jpg": encoded(astronaut())}))), quality=70, upscale=2)
    assert replays(made)[:2] == (0, ["replay: same bytes a.tar/h.jpg.png", "replay: same bytes b.zip/a.jpg.jpg"])


def test_a_signed_photo_has_the_same_pixels(made: Run, tmp_path: Path) -> None:
    source = Path(put(str(tmp_path), "a.tar", tar_bytes({"h.jpg": encoded(hopper())})))
    made.restore(source, signing=load_signing(*signer(tmp_path)))
    assert replays(made)[:2] == (0, ["replay: same pixels a.tar/h.jpg.jpg (0.00 of 255 beyond the format's own loss)"])


def test_other_pixels_are_told_from_rounding(restored: Run) -> None:
    from PIL import Image

    path = "a.tar/h.tif.tif"
    pixels = np.array(Image.open(restored.file(path)).convert("RGB"))
    restored.publish(path, encoded(rounded(pixels), "TIFF"))
    assert "replay: same pixels a.tar/h.tif.tif (0.0" in "".join(replays(restored)[1])
    pixels[40:80, 40:80] //= 2
    restored.publish(path, encoded(pixels, "TIFF"))
    code, lines, err = replays(restored)
    assert code == 1
    assert [line.split(" (")[0] for line in lines] == [
        "replay: differs a.tar/h.tif.tif",
        "replay: same bytes a.tar/a.png.png",
        "replay: same bytes a.tar/h.jpg.jpg",
    ]
    assert err[-1].startswith(f"interlcm: {restored.output}: 1 of 3 photos did not come out the same; ")


def test_weights_that_are_others_now(restored: Run, tmp_path: Path) -> None:
    from tests.support.tiny import weights_folder

    attempts = json.loads((restored.output / "run.json").read_text())
    weights_folder(tmp_path / "others", seed=3)
    attempts["attempts"][0]["settings"]["weights"] = str(tmp_path / "others")
    (restored.output / "run.json").write_text(json.dumps(attempts))
    code, lines, _ = replays(restored)
    digest = attempts["attempts"][0]["weights_digest"][:12]
    assert code == 1 and len(lines) == 3
    assert all(line.startswith("replay: not replayed") and digest in line for line in lines)


def test_a_source_that_is_gone_or_another(made: Run, tmp_path: Path) -> None:
    source = Path(put(str(tmp_path), "a.tar", tar_bytes({"h.png": encoded(hopper(), "PNG")})))
    made.restore(source)
    source.write_bytes(tar_bytes({"h.png": encoded(astronaut(), "PNG")}))
    os.utime(source, (1, 1))
    code, (line,), _ = replays(made)
    assert code == 1 and line.startswith("replay: not replayed") and "a.tar: changed since it was indexed" in line
    source.unlink()
    _, (line,), err = replays(made)
    assert "no such file" in line
    assert "1 of 1 photos could not be restored again; bring back its source" in err[-1]


def rounded(pixels: Pixels, share: float = 1e-3) -> Pixels:
    """One in 1,000 values differs by one level, as a different thread count or batch size can cause."""
    generator = np.random.default_rng(0)
    change = generator.choice([-1, 0, 1], pixels.shape, p=[share / 2, 1 - share, share / 2])
    return (pixels + change).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("JPEG", {"quality": 30}), ("WEBP", {"quality": 75})])
def test_rounding_is_no_difference_in_any_format(format: str, options: dict[str, int]) -> None:
    from PIL import Image

    def written(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format, **options)
        return buffer.getvalue()

    exact, boxes = hopper(), [(30.0, 20.0, 100.0, 90.0)]
    changed = exact.copy()
    changed[30:60, 40:70] = 255 - changed[30:60, 40:70]
    arguments = (written(exact), encoded(exact, "TIFF"), boxes, Limits())
    assert difference(written(rounded(exact)), *arguments) <= ROUNDING
    assert difference(written(changed), *arguments) > 10 * ROUNDING
    assert difference(written(exact[:-1]), *arguments) == float("inf")
