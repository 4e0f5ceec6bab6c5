"""Decisions of curators: OUTPUT/decisions/*.csv and *.json, exported by the review report.

This reads the files; which of their rows count is in `standing`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from interlcm.errors import InterLCMError, one_line
from pipeline import storage
from pipeline.manifest.schema import DECISION_SCHEMA, DECISIONS, EXPORTED_SCHEMA
from pipeline.storage.output import Output

CLOCKS = timedelta(days=1)  # by which a reviewer's clock may be ahead
MAX_BYTES = 256 << 20  # of one file: some 2 million decisions
REQUIRED = DECISION_SCHEMA.names[:5]  # the others came later, and may be missing or empty


class DecisionError(InterLCMError):
    """A file that does not hold decisions: one line that names file and row."""


def read_decisions(output: str) -> pa.Table:
    """Every row of every file (`EXPORTED_SCHEMA`), in the order of time; of two at the same time, the later file last.

    Raises `DecisionError`, or `StorageError` when a file cannot be read.
    """
    folder = Output(output).decisions
    found = storage.list_files(folder) if storage.exists(folder) else []
    rows: list[dict[str, Any]] = []
    for name, size in found:
        if name.endswith((".csv", ".json")):
            rows += [row | {"file": name} for row in _of_file(storage.join(folder, name), size)]
    rows.sort(key=lambda row: row["decided_at"])  # stable
    numbered = [row | {"number": number} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, schema=EXPORTED_SCHEMA)


def _of_file(uri: str, size: int) -> list[dict[str, Any]]:
    if size > MAX_BYTES:
        raise DecisionError(f"{uri}: {size >> 20} MiB, more than the {MAX_BYTES >> 20} MiB of an export; remove it")
    number = 0
    try:
        rows = []
        for record in _records(uri):
            number += 1
            rows.append(_decision(record))
        return rows
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error) as error:
        words = f"no column {error}" if isinstance(error, KeyError) else one_line(error)[:200]
        row = f"row {number}: " if number else ""
        raise DecisionError(f"{uri}: {row}{words}; repair or remove this file, or export it again") from error


def _records(uri: str) -> Iterator[dict[str, Any]]:
    try:
        text = storage.read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8, which spreadsheets call CSV UTF-8") from error
    if uri.endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            commas = "; columns are to be separated by commas" * any(";" in name for name in reader.fieldnames or ())
            raise ValueError(f"no column {', '.join(missing)}{commas}")
        yield from reader
        return
    records = json.loads(text)
    if not isinstance(records, list):
        raise ValueError("not a list of decisions")
    yield from records


def _decision(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its values checked and converted to their types."""
    if not isinstance(record, dict):
        raise ValueError("not a decision")
    face, decision, photo_id = record["face_index"], record["decision"], record["photo_id"]
    if not photo_id or not isinstance(photo_id, str):
        raise ValueError("a decision needs a photo_id")
    if decision not in (*DECISIONS, "", None):
        raise ValueError(f"decision {decision!r} is not one of {', '.join(DECISIONS)}")
    row = {
        "photo_id": photo_id,
        "face_index": None if face in ("", None) else _index(face),
        "decision": decision or None,
        "comment": str(record["comment"] or ""),
        "decided_at": _time(record["decided_at"]),
        "reviewer": str(record.get("reviewer") or "") or None,
        "restored_sha256": _digest(record.get("restored_sha256")),
        "box": _box(record.get("box")),
        "strength": _strength(record.get("strength")),
    }
    f"{photo_id}{row['comment']}{row['reviewer']}".encode()  # fails for half a character, which Arrow cannot hold
    return row


def _index(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number != float(value) or not 0 <= number < 1 << 31:
        raise ValueError(f"face_index {value!r} is not a face")
    return number


def _time(value: Any) -> datetime:
    """ISO 8601; without a zone it is UTC."""
    time = datetime.fromisoformat(value)
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    if time > datetime.now(UTC) + CLOCKS:
        raise ValueError(f"decided_at {value} is in the future, so it would win for ever; correct the date")
    return time


def _digest(value: Any) -> str | None:
    if value in ("", None):
        return None
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"restored_sha256 {value!r} is not a sha256")
    return value


def _box(value: Any) -> list[float] | None:
    """x0, y0, x1, y1 in px: four numbers with blanks between them, or a list of four."""
    if value in ("", None, []):
        return None
    numbers = [float(edge) for edge in (value.split() if isinstance(value, str) else value)]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"box {value!r} is not x0 y0 x1 y1")
    return numbers


def _strength(value: Any) -> float | None:
    if value in ("", None):
        return None
    number = float(value)
    if isinstance(value, bool) or not 0 <= number <= 1:
        raise ValueError(f"strength {value!r} is not from 0 to 1")
    return number
