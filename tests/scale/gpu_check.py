"""What a GPU decides about the defaults, in at most ten minutes: `make gpu-check`, or

    python -m tests.scale.gpu_check [FOLDER] [--size tiny] [--faces 512] [--face WEIGHTS/face]

It runs `interlcm benchmark model` three times: the defaults of a GPU with the real restore actor over 512 faces and all
judges, with and without micro-batches that overlap; the other dtypes; and torch.compile, from an empty cache, for the
model alone and then, from the cache, in the actor. Then it measures RetinaFace with 1, 4, 8 and 16 tiles at once. Each
has a time limit, and its rows are in FOLDER (default gpu-check) as soon as they are measured. Last, it says how far the
judges move in half precision, and what the numbers say about the defaults. Without --face the judges have random
weights; without facexlib there are neither judges nor RetinaFace. On a CPU, `--size tiny --faces 1` tries the script,
with torch.compile's backend "aot_eager", which generates no code.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.config.resources import COMPILE_SECONDS, SAVED_SECONDS

# Seconds for each part; together under ten minutes, with the start of five processes. A CPU, where tiny is tried, gets
# more.
LIMITS = {"defaults": 200, "dtypes": 85, "compile": 235, "finding": 30, "judges": 35}
ON_CPU = 5


def parts(folder: Path, size: str, faces: int, judges: Path | None) -> dict[str, list[str]]:
    """Words of each command."""
    tiny = size == "tiny"
    face = ["--face", str(judges)] if judges else []
    model = ["-m", "jobs", "benchmark", "model", "--size", size, "--faces", "1" if tiny else "16"]

    def to(name: str) -> list[str]:
        return ["--to", str(folder / f"{name}.json")]

    sizes = ("1", "1", "1") if tiny else ("8,16,31,32,64", "1,16,32", "32")
    actor = ["--actor-faces", str(faces), *face]
    # On a CPU, where tiny is tried, half precision takes minutes.
    half = "float32" if tiny else "bfloat16"
    compile = ["--compile", *(["--compile-backend", "aot_eager"] if tiny else [])]
    others = ["--dtypes", "float32" if tiny else "float16,float32", "--batch-faces", sizes[1]]
    found = {
        "defaults": [*model, "--dtypes", half, "--batch-faces", sizes[0], *actor, *to("defaults")],
        "dtypes": [*model, *others, *to("dtypes")],
        "compile": [*model, "--dtypes", half, "--batch-faces", sizes[2], *compile, *actor, *to("compile")],
    }
    if judges:
        tiles = ["--sides", "64", "--batches", "1,2", "--network", "mobile0.25"] if tiny else []
        found["finding"] = ["-m", "tests.scale.retinaface_rate", *tiles, *to("finding")]
        found["judges"] = ["-m", "tests.scale.judge_precision", str(judges.parent), half]
    return found


def random_judges(folder: Path) -> Path | None:
    """A face/ folder of random weights; None where facexlib is absent."""
    try:
        from tests.support.networks import write_face_networks
    except ModuleNotFoundError as error:
        print(f"no judges: {error.name} is not installed")
        return None
    write_face_networks(folder)
    return folder / "face"


def rows(folder: Path, part: str, table: str) -> list[dict[str, Any]]:
    """The rows that a part measured; none if it did not get so far."""
    file = folder / f"{part}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text())["tables"].get(table, []) if file.exists() else []
    return found


def verdicts(folder: Path) -> Iterator[str]:
    """What the numbers say about the defaults, one line each."""
    measured = {(row["judged by"], row["overlap"]): row["faces/s"] for row in rows(folder, "defaults", "Actor")}
    for judges in dict.fromkeys(name for name, _ in measured):
        with_it, without = measured.get((judges, "yes")), measured.get((judges, "no"))
        if with_it and without:
            yield f"overlap ({judges}): {without:.1f} -> {with_it:.1f} faces/s; the default is to overlap"
    sweep = [row for row in rows(folder, "compile", "Sweep") if row["faces/s"]]
    compiled = next((row for row in sweep if row["layout"].endswith("compiled")), None)
    eager = next((row for row in sweep if row["layout"] == "channels last"), None)
    if compiled and eager:
        saved, cost = eager["s/face"] - compiled["s/face"], compiled["first call s"] - eager["first call s"]
        pays = f"pays from {cost / saved:,.0f} faces" if saved > 0 else "never pays"
        psnr = f"PSNR {eager['PSNR dB']:.1f} and {compiled['PSNR dB']:.1f} dB"
        yield f"compile: {eager['faces/s']:.1f} -> {compiled['faces/s']:.1f} faces/s after {cost:.0f} s: {pays}; {psnr}"
        yield f"compile: the default compiles from {COMPILE_SECONDS / SAVED_SECONDS:,.0f} faces an actor (resources.py)"
    for row in rows(folder, "compile", "Actor"):
        if row["compiled"] != "no":
            words = f"{row['faces/s']:.1f} faces/s after {row['first call s']:.0f} s from the cache"
            yield f"compile: in the actor ({row['judged by']}): {words if row['compiled'] == 'yes' else 'failed'}"
    tiles = rows(folder, "finding", "Tiles")
    for side in dict.fromkeys(row["px"] for row in tiles):
        rates = {row["micro-batch"]: row["tiles/s"] for row in tiles if row["px"] == side}
        best = max(rates, key=lambda batch: rates[batch])
        words = f"{rates[1]:.1f} alone, {rates[best]:.1f} in micro-batches of {best}"
        yield f"finding: RetinaFace, tiles/s of {side} px: {words}; the default is MOST of retinaface.py"


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", nargs="?", type=Path, default=Path("gpu-check"))
    words.add_argument("--size", choices=("tiny", "small", "full"), default="full")
    words.add_argument("--faces", type=int, default=512)
    words.add_argument("--face", type=Path)
    asked = words.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    with TemporaryDirectory() as made:
        judges = asked.face or random_judges(Path(made))
        for name, command in parts(asked.folder, asked.size, asked.faces, judges).items():
            begun, limit = time.monotonic(), LIMITS[name] * (ON_CPU if asked.size == "tiny" else 1)
            print(f"\n== {name}, at most {limit} s", flush=True)
            try:
                whole = [sys.executable, "-u", *command]
                code = subprocess.run(whole, timeout=limit).returncode
                end = f"exit code {code}"
            except subprocess.TimeoutExpired:
                code, end = 1, "stopped at its limit; the rows so far are written"
            failed += code != 0
            print(f"== {name}: {end} after {time.monotonic() - begun:.0f} s", flush=True)
    print("\n== what this says about the defaults", *verdicts(asked.folder), sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
