"""Take photos out of the log for good: their rows in the manifest, and their rows in the files of decisions.

Each file is replaced by one without these rows, which appears whole before the other goes. Killed in between, both are
there; the next call finds the rows again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.index.schema import PAGE, root_id
from pipeline.manifest.compaction import GROUP_ROWS
from pipeline.manifest.schema import REMOVED
from pipeline.storage.output import Output

Columns = dict[str, Any]


def erase_rows(output: str, photo_ids: Set[str]) -> None:
    """Remove all rows of these members and their pages but those that say, without a name, that they were removed."""
    place, ids = Output(output), pa.array(sorted(photo_ids), pa.string())
    storage.remove(place.settled)  # it has names, too; without it questions take longer, until the next compaction
    filesystem, folder = storage.arrow_filesystem(place.manifest)
    for name, _ in place.manifest_files():
        narrow = pq.read_table(f"{folder}/{name}", columns=["photo_id", "member", "status"], filesystem=filesystem)
        gone = _to_erase(narrow, ids)
        if not pc.any(gone).as_py():
            continue
        kept = pq.read_table(f"{folder}/{name}", filesystem=filesystem).filter(pc.invert(gone))
        if len(kept):
            sink = pa.BufferOutputStream()
            pq.write_table(kept, sink, compression="zstd", row_group_size=GROUP_ROWS)
            data = sink.getvalue().to_pybytes()
            new = f"merged-{hashlib.sha256(data).hexdigest()[:20]}.parquet"
            storage.write_bytes(storage.join(place.manifest, new), data)
        storage.remove(storage.join(place.manifest, name))


def _to_erase(rows: pa.Table, ids: pa.Array) -> pa.Array:
    roots = pc.replace_substring_regex(rows["photo_id"], PAGE, "")
    blank = pc.and_(pc.equal(rows["status"], REMOVED), pc.equal(rows["member"], ""))
    return pc.and_(pc.is_in(roots, ids), pc.invert(blank))


def erase_decisions(output: str, photo_ids: Set[str]) -> None:
    """Remove the decisions on these members and their pages; a file without others goes."""
    folder = Output(output).decisions
    for name, _ in storage.list_files(folder) if storage.exists(folder) else []:
        uri = storage.join(folder, name)
        if name.endswith(".csv"):
            data = _csv_without(storage.read_bytes(uri).decode("utf-8-sig"), photo_ids)
        elif name.endswith(".json"):
            data = _json_without(storage.read_bytes(uri).decode("utf-8-sig"), photo_ids)
        else:
            continue
        if data == b"":
            storage.remove(uri)
        elif data is not None:
            storage.write_bytes(uri, data)


def _csv_without(text: str, photo_ids: Set[str]) -> bytes | None:
    """The file without rows of these photos; empty if no others are left, None if it has none of them."""
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    place = header.index("photo_id")
    kept = [row for row in rows if row and root_id(row[place]) not in photo_ids]
    if len(kept) == sum(map(bool, rows)):
        return None
    sink = io.StringIO()
    csv.writer(sink).writerows([header, *kept])
    return sink.getvalue().encode() if kept else b""


def _json_without(text: str, photo_ids: Set[str]) -> bytes | None:
    records: list[Columns] = json.loads(text)
    kept = [one for one in records if root_id(one["photo_id"]) not in photo_ids]
    if len(kept) == len(records):
        return None
    return json.dumps(kept, ensure_ascii=False, indent=1).encode() if kept else b""
