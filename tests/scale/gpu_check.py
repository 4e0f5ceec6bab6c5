"""What a GPU decides about the defaults, in at most ten minutes: `make gpu-check`, or

    python -m tests.scale.gpu_check [FOLDER] [--size tiny] [--faces 512] [--face FACE_FOLDER]

It runs `interlcm benchmark model` three times: the defaults of a GPU with the real restore actor over 512 faces and all
judges; the other dtypes; and torch.compile. Each has a time limit, and its rows are in FOLDER (default gpu-check) as
soon as they are measured. Last, it says how far the judges move in half precision. Without --face the judges have
random weights; without facexlib there are no judges. On a CPU, `--size tiny --faces 1` tries the script.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

# Seconds for each part; together under ten minutes, with the start of four processes.
LIMITS = {"defaults": 210, "dtypes": 120, "compile": 180, "judges": 45}


def parts(folder: Path, size: str, faces: int, judges: Path | None) -> dict[str, list[str]]:
    """Words of each command."""
    tiny = size == "tiny"
    face = ["--face", str(judges)] if judges else []
    model = ["-m", "jobs", "benchmark", "model", "--size", size, "--faces", "1" if tiny else "16"]

    def to(name: str) -> list[str]:
        return ["--to", str(folder / f"{name}.json")]

    sizes = ("1", "1", "1") if tiny else ("8,16,31,32,64", "1,16,32", "32")
    defaults = ["--dtypes", "bfloat16", "--batch-faces", sizes[0], "--actor-faces", str(faces), *face]
    # On a CPU, where tiny is tried, float16 takes minutes.
    others = ["--dtypes", "float32" if tiny else "float16,float32", "--batch-faces", sizes[1]]
    found = {
        "defaults": [*model, *defaults, *to("defaults")],
        "dtypes": [*model, *others, *to("dtypes")],
        "compile": [*model, "--dtypes", "bfloat16", "--batch-faces", sizes[2], "--compile", *to("compile")],
    }
    if judges:
        found["judges"] = ["-m", "tests.scale.judge_precision", str(judges)]
    return found


def random_judges(folder: Path) -> Path | None:
    """A face/ folder of random weights; None where facexlib is absent."""
    try:
        from tests.support.networks import write_face_networks
    except ModuleNotFoundError as error:
        print(f"no judges: {error.name} is not installed")
        return None
    write_face_networks(folder)
    return folder


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
            begun = time.monotonic()
            print(f"\n== {name}, at most {LIMITS[name]} s", flush=True)
            try:
                code = subprocess.run([sys.executable, "-u", *command], timeout=LIMITS[name]).returncode
                end = f"exit code {code}"
            except subprocess.TimeoutExpired:
                code, end = 1, "stopped at its limit; the rows so far are written"
            failed += code != 0
            print(f"== {name}: {end} after {time.monotonic() - begun:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
