"""Measure `interlcm status` during a large run: python -m tests.scale.status_scale FOLDER [PHOTOS [PARTS]]

Writes a made-up run of PHOTOS photos (10^6), of which nine tenths are done, merges and counts it as the end of an
attempt does, and then adds PARTS parts (1000) of 8 photos, half of them photos that were done before. Prints wall and
CPU seconds of a status in a new process, before and after these parts are merged beside the run, and of a count from
scratch, which must give the same numbers. FOLDER is kept; a run that is there is measured again. This is not a test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.benchmark.query import PER_FILE, alone, manifest_columns, table, write_run
from pipeline.manifest.compaction import compact
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.run import kept_count
from tests.support.rows import START

PART = 8  # photos


def main(folder: str, photos: int = 1_000_000, parts: int = 1000) -> None:
    if not Path(folder, "run.json").exists():
        if not Path(folder, "manifest").exists():
            write_run(folder, photos)
        attempts = [{"number": n, "started_at": (START + timedelta(hours=n)).isoformat(),
                     "settings": {"weights": "demo"}, "settings_digest": "b" * 64, "weights_digest": "a" * 64}
                    for n in (1, 1000)]  # fmt: skip
        Path(folder, "run.json").write_text(json.dumps({"attempts": attempts}))
        timed("compaction", _compact, folder)
    timed("count from scratch", _scratch, folder)
    timed("status, nothing changed", _status, folder)
    write_parts(folder, photos, parts)
    timed(f"status, with {parts} new parts", _status, folder)
    timed("merge beside the run", _merge, folder)
    write_parts(folder, photos, parts, again=1)
    timed(f"status after it, with {parts} new parts", _status, folder)
    new, scratch = kept_count.count(folder), kept_count.count(folder, from_scratch=True)
    print(f"the same as from scratch: {new == scratch}; {new.tally.counts}")


def write_parts(folder: str, photos: int, parts: int, again: int = 0) -> None:
    """Parts of the next photos of the last file of the index, and of as many that were done."""
    number = (photos - 1) // PER_FILE
    rows = np.arange(number * PER_FILE, photos)
    first = int(len(rows) * 0.9) - parts * PART // 2 + again * parts * PART
    times = int((START + timedelta(hours=1000)).timestamp() * 1e6) + 10_000 * (rows - rows[0])  # 100 photos a second
    known = {"attempt": np.full(len(rows), 1000), "finished_at": pa.array(times, pa.timestamp("us", "UTC"))}
    done = table(MANIFEST_SCHEMA, len(rows), manifest_columns(rows, number, folder) | known)
    for part in range(parts):
        start = first + part * PART
        file = Path(folder, "manifest", f"part-{again:05}{part:05}.parquet")
        pq.write_table(done.slice(start, PART), file, compression="zstd")


def timed(what: str, work: Callable[..., int], folder: str) -> None:
    cost = alone(work, folder)
    print(f"{what}: {cost.seconds:.2f} s, {cost.cpu:.2f} s of CPU, {cost.memory} MB", flush=True)


def _compact(folder: str) -> int:
    return compact(folder).parts_after


def _scratch(folder: str) -> int:
    found = kept_count.count(folder, from_scratch=True)
    kept_count.write_count(folder, found)
    return found.tally.counts.pending


def _status(folder: str) -> int:
    return kept_count.count(folder).tally.counts.pending


def _merge(folder: str) -> int:
    kept_count.merge(folder)
    return 0


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
