"""ExifTool, as a reader of metadata that shares no code with this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def tags(path: Path, *options: str) -> dict[str, Any]:
    """All tags of a file, named GROUP:TAG, structures nested, numbers as numbers. Skips the test without ExifTool."""
    needed("exiftool", "libimage-exiftool-perl")
    command = ["exiftool", "-j", "-struct", "-n", "-G1", *options, str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    (found,) = json.loads(done.stdout)
    return dict(found)


def write(path: Path, *options: str) -> bytes:
    """Change a file with ExifTool; returns its new content."""
    needed("exiftool", "libimage-exiftool-perl")
    subprocess.run(["exiftool", "-q", "-overwrite_original", *options, str(path)], check=True)
    return path.read_bytes()


def needed(program: str, package: str) -> None:
    """Skips the test without this program, or fails it if `CI` is set."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} not found; .ci/run installs it")
        pytest.skip(f"needs {program} (Debian: {package})")
