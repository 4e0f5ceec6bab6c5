"""Write the files of the report, among them small scripts that hold data.

A page opened from a disk may not fetch files, but it may load scripts. So each data file is one call,
`Report.receive("name", value)`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import storage

CHUNK_BYTES = 2 << 20  # about the size of a data file: a phone reads one quickly
PAGE_ROWS = 1000
COLUMN_VALUES = CHUNK_BYTES * 3 // 4 // 4  # float32 values that make CHUNK_BYTES in base64


class DataFiles:
    """Writes the files below report/data/."""

    def __init__(self, report: str) -> None:
        self.report = report
        self._written: set[str] = set()

    def write(self, name: str, value: Any) -> None:
        """Write one data file. `value`: anything that JSON can hold."""
        self.publish(name, dump(value))

    def publish(self, name: str, text: str) -> None:
        """`write` for JSON."""
        script = f"Report.receive({json.dumps(name)}, {text});\n"
        storage.publish(storage.join(self.report, "data", f"{name}.js"), script.encode())
        self._written.add(f"{name}.js")

    def remove_others(self) -> None:
        """Remove the files of an earlier report that had more: they tell of photos and decisions that are gone."""
        folder = storage.join(self.report, "data")
        storage.remove_all(folder, [name for name, _ in storage.list_files(folder) if name not in self._written])

    def write_column(self, name: str, values: npt.NDArray[Any]) -> int:
        """Write a column as base64 of little-endian float32, NaN if there is no value; returns the number of files."""
        chunks = [values[start : start + COLUMN_VALUES] for start in range(0, len(values), COLUMN_VALUES)]
        for place, chunk in enumerate(chunks):
            self.write(f"{name}-{place}", base64.b64encode(chunk.astype("<f4").tobytes()).decode())
        return len(chunks)


class Parts:
    """Collects values of one kind and cuts them into data files.

    `starts` has the index of each file's first value; `count` is the number of values so far.
    """

    def __init__(self, files: DataFiles, name: str, most: int) -> None:
        self.files, self.name, self.most = files, name, most
        self.starts: list[int] = []
        self.count = 0
        self._open: list[str] = []
        self._size = 0

    def add(self, value: Any) -> None:
        text = dump(value)
        size = len(text.encode())
        if self._open and (len(self._open) >= self.most or self._size + size > CHUNK_BYTES):
            self.close()
        self._open.append(text)
        self._size += size
        self.count += 1

    def extend(self, values: Iterable[Any]) -> None:
        for value in values:
            self.add(value)

    def close(self) -> None:
        """Write the remaining values."""
        if self._open:
            name = f"{self.name}-{len(self.starts)}"
            lines = ",\n".join(self._open)
            self.files.publish(name, f"[\n{lines}\n]")
            self.starts.append(self.count - len(self._open))
            self._open, self._size = [], 0


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def rounded(values: npt.NDArray[Any]) -> list[float | None]:
    """Numbers for a page, with four decimals; None for missing or non-finite ones."""
    return [value if np.isfinite(value) else None for value in np.round(values.astype(np.float64), 4).tolist()]
