"""Seconds and megabytes of each way to install the package: `python -m tests.scale.install_sizes [EXTRA ...]`.

Builds a wheel, installs it into a new virtual environment for each extra, with the versions of constraints.txt, and
runs a command. Seconds depend on pip's cache and the network; megabytes are those of the whole environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
EXTRAS = ("", "pictures", "cluster", "stages,cluster", "restore")


def wheel(folder: Path) -> Path:
    """Build the package's wheel into a folder. What an earlier build left would come along, removed modules too."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True)
    (built,) = folder.glob("interlcm-*.whl")
    return built


def install(built: Path, extra: str, folder: Path) -> Path:
    """A virtual environment with the wheel and one extra ("" for none); returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = f"interlcm[{extra}] @ {built.as_uri()}" if extra else str(built)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), wanted], check=True)
    return folder / "bin"


def megabytes(folder: Path) -> float:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6


def main(extras: list[str]) -> None:
    print("| install | seconds | MB |\n| --- | --- | --- |")
    with TemporaryDirectory() as temporary:
        built = wheel(Path(temporary))
        for extra in extras:
            begun = time.monotonic()
            programs = install(built, extra, Path(temporary, f"venv-{extra}"))
            seconds = time.monotonic() - begun
            subprocess.run([programs / "interlcm", "doctor"], check=True, stdout=subprocess.DEVNULL)
            name = f"interlcm[{extra}]" if extra else "interlcm"
            print(f"| `{name}` | {seconds:.0f} | {megabytes(programs.parent):.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(EXTRAS))
