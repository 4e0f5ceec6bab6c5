"""Files by the programs that archives use, which share no code with this project."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.exiftool import needed

PACKAGES = {
    "convert": "imagemagick", "tiffcp": "libtiff-tools", "tiffset": "libtiff-tools", "opj_compress": "libopenjp2-tools",
    "cjxl": "libjxl-tools", "heif-enc": "libheif-examples",
}  # fmt: skip


def made(program: str, source: Path, target: Path, *options: str, behind: tuple[str, ...] = ()) -> bytes:
    """The output of a program for a file: `program OPTIONS source BEHIND target`; without it, the test is skipped."""
    needed(program, PACKAGES[program])
    named = ("-i", str(source), "-o", str(target)) if program == "opj_compress" else (str(source), *behind, str(target))
    if program == "heif-enc":
        named = (str(source), "-o", str(target))
    subprocess.run([program, *options, *named], check=True, capture_output=True)
    return target.read_bytes()
