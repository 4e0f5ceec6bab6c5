"""The data files of a report, as its page reads them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import storage


def received(report: str | Path, name: str) -> Any:
    """The value that a data file passes to the page."""
    script = storage.read_bytes(storage.join(str(report), "data", f"{name}.js")).decode()
    head = f'Report.receive("{name}", '
    assert script.startswith(head)
    return json.loads(script.removeprefix(head).removesuffix(");\n"))


def column(report: str, name: str, files: int = 1) -> list[float]:
    data = b"".join(base64.b64decode(received(report, f"{name}-{place}")) for place in range(files))
    return [float(value) for value in np.frombuffer(data, "<f4")]
