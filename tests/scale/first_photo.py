"""Seconds until `interlcm demo` has restored its first photo, beside the import of the model.

Run it with `python -m tests.scale.first_photo`.

Medians of several rounds, the two in turns. With one process on an idle machine the ratio says how much of the wait is
not PyTorch and diffusers.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROUNDS = 5
INTERLCM = [sys.executable, "-m", "jobs"]


def seconds_of_import() -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import interlcm.model"], check=True)
    return time.monotonic() - begun


def seconds_of_demo() -> tuple[float, float]:
    """Until the first restored photo is there, and until the command has ended."""
    with TemporaryDirectory() as folder:
        begun = time.monotonic()
        with subprocess.Popen([*INTERLCM, "demo", "--output", folder], stdout=subprocess.DEVNULL) as demo:
            first = None
            while demo.poll() is None:
                if first is None and any(Path(folder, "run", "restored").rglob("*.jpg")):
                    first = time.monotonic() - begun
                time.sleep(0.02)
        if demo.returncode or first is None:
            raise SystemExit("interlcm demo failed")
        return first, time.monotonic() - begun


def main() -> None:
    imports, firsts, wholes = [], [], []
    for _ in range(ROUNDS):
        imports.append(seconds_of_import())
        first, whole = seconds_of_demo()
        firsts.append(first)
        wholes.append(whole)
    model, first, whole = (statistics.median(seconds) for seconds in (imports, firsts, wholes))
    print("| what | s | x |\n| --- | ---: | ---: |")
    print(f"| `import interlcm.model` | {model:.1f} | 1 |")
    print(f"| `interlcm demo`, first restored photo | {first:.1f} | {first / model:.2f} |")
    print(f"| `interlcm demo`, whole | {whole:.1f} | {whole / model:.2f} |")


if __name__ == "__main__":
    main()
