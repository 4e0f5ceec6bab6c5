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
    if shutil.which("exiftool") is None:
        if os.environ.get("CI"):
            pytest.fail("exiftool not found; .ci/run installs it")
        pytest.skip("needs exiftool (Debian: libimage-exiftool-perl)")
    command = ["exiftool", "-j", "-struct", "-n", "-G1", *options, str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    (found,) = json.loads(done.stdout)
    return dict(found)
