"""How long it takes to resume and to query a large run, compared with plain DuckDB on the same files."""

from __future__ import annotations

import io
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest import compaction, query
from pipeline.manifest import pending as manifest_pending
from pipeline.manifest.schema import DECISION_SCHEMA, FACE, MANIFEST_SCHEMA
from pipeline.run.status import count_run, read_status

PER_FILE = 100_000  # rows; a compacted manifest and an index of large archives have such files
DONE = 0.9  # share of the index that has a manifest row
FACES = 2  # of each restored photo
# Views of a plain reader: every row counts, because the files of this run hold each photo once.
PLAIN = """
SET enable_progress_bar = false;
CREATE VIEW photos AS SELECT * EXCLUDE (faces) FROM read_parquet('{folder}/manifest/*.parquet');
CREATE VIEW faces AS SELECT photo_id, source, member, page, restored_uri, face.* FROM (
    SELECT photo_id, source, member, page, restored_uri, unnest(faces) AS face
    FROM read_parquet('{folder}/manifest/*.parquet'));
"""


def measure(folder: str, photos: int, questions: Mapping[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of the resume table, and a row for each question, on a generated run of `photos` photos below `folder`.

    Each is measured in a new process, so that its memory is counted alone.
    """
    write_run(folder, photos)
    merged, left = alone(_compact, folder), alone(_pending, folder)
    count, status = alone(_count, folder), alone(_status, folder)
    resume = {"index rows": photos, "left": left.found, "resume s": left.seconds, "memory MB": left.memory}
    resume |= {"compaction s": merged.seconds, "count s": count.seconds, "status s": status.seconds}
    rows = []
    for name, sql in questions.items():
        ours, plain = alone(_ask, folder, sql), alone(_ask_plain, folder, sql)
        row = {"photos": photos, "question": name, "rows": ours.found, "s": ours.seconds}
        row |= {"plain DuckDB s": plain.seconds, "times as long": ours.seconds / plain.seconds}
        row |= {"CPU s": ours.cpu, "plain CPU s": plain.cpu, "times the CPU": ours.cpu / plain.cpu}
        rows.append(row | {"memory MB": ours.memory, "plain MB": plain.memory})
    return resume, rows


@dataclass(frozen=True)
class Cost:
    """Seconds, CPU seconds, greatest memory (MB) and result of some work."""

    seconds: float
    cpu: float
    memory: int
    found: int


def alone(work: Callable[..., int], *arguments: str) -> Cost:
    """The cost of `work` in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_timed, work, *arguments).result()


def _timed(work: Callable[..., int], *arguments: str) -> Cost:
    begun, cpu = time.perf_counter(), time.process_time()
    found = work(*arguments)
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    return Cost(seconds, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, found)


def _pending(folder: str) -> int:
    return len(manifest_pending.pending(folder))


def _compact(folder: str) -> int:
    return compaction.compact(folder).parts_after


def _count(folder: str) -> int:
    return count_run(folder).counts.pending


def _status(folder: str) -> int:
    return read_status(folder).counts.pending


def _ask(folder: str, sql: str) -> int:
    return int(query.reading(folder, lambda connection: query.run(connection, sql), whole=True).num_rows)


def _ask_plain(folder: str, sql: str) -> int:
    with duckdb.connect() as connection:
        connection.register("decisions", DECISION_SCHEMA.empty_table())
        connection.execute(PLAIN.format(folder=folder))
        return int(connection.sql(sql).to_arrow_table().num_rows)


def write_run(folder: str, photos: int) -> None:
    """Write index and manifest of a made-up run: nine of ten photos done, one of a hundred of these failed."""
    for number, start in enumerate(range(0, photos, PER_FILE)):
        rows = np.arange(start, min(start + PER_FILE, photos))
        _write(f"{folder}/index/box-{number:016}.parquet", table(INDEX_SCHEMA, len(rows), index_columns(rows, number)))
        done = rows[: int(len(rows) * DONE)]
        made = table(MANIFEST_SCHEMA, len(done), manifest_columns(done, number, storage.canonical(folder)))
        _write(f"{folder}/manifest/part-{number:05}.parquet", made)


def names(rows: Any, number: int) -> dict[str, Any]:
    """The columns that name a photo, with digests as hard to compress as real ones."""
    draw = np.random.default_rng(number).bytes(10 * PER_FILE).hex()
    return {
        "photo_id": [draw[20 * n : 20 * n + 20] for n in range(len(rows))],
        "source": [f"s3://archive/scans/box-{number:05}.tar"] * len(rows),
        "member": [f"folder-{n // 100:06}/scan-{n:08}.tif" for n in rows.tolist()],
    }


def index_columns(rows: Any, number: int) -> dict[str, Any]:
    sizes = np.random.default_rng(number).integers(1_000_000, 20_000_000, len(rows))
    known = {"archive_name": f"box-{number:05}.tar", "archive_format": "tar", "kind": "file", "compression": "none"}
    constant = {name: [value] * len(rows) for name, value in known.items()}
    places = {"occurrence": np.zeros(len(rows), np.int32), "offset": np.cumsum(sizes) - sizes}
    return names(rows, number) | constant | places | {"bytes": sizes, "stored_bytes": sizes}


def manifest_columns(rows: Any, number: int, output: str) -> dict[str, Any]:
    draw = np.random.default_rng(number)
    failed = rows % 100 == 99
    counts = np.where(failed, 0, FACES)
    ends = np.concatenate([[0], np.cumsum(counts)])
    named = names(rows, number)
    return named | {
        "page": np.ones(len(rows), np.int32),
        "pages": np.ones(len(rows), np.int32),
        "status": np.where(failed, "failed", "restored"),
        "error_type": pa.array(np.where(failed, "truncated", ""), mask=~failed),
        "restored_uri": [f"{output}/restored/box-{number:05}.tar/{member}" for member in named["member"]],
        "bytes": draw.integers(1_000_000, 20_000_000, len(rows)),
        "face_count": counts,
        "attempt": np.ones(len(rows), np.int32),
        "faces": pa.ListArray.from_arrays(ends.astype(np.int32), face_structs(draw, int(ends[-1]))),
        **{f"seconds_{stage}": draw.random(len(rows)) for stage in ("fetch", "detect", "restore", "compose")},
        "finished_at": pa.array(1_767_225_600_000_000 + 100_000 * rows, pa.timestamp("us", "UTC")),
    }


def face_structs(draw: np.random.Generator, count: int) -> pa.StructArray:
    review = draw.random(count) < 0.01
    known: dict[str, Any] = {
        "face_index": np.arange(count) % FACES,
        "psnr": draw.normal(27, 3, count),
        "ssim": draw.random(count),
        "delta_e": draw.random(count),
        "needs_review": review,
        "review_reason": pa.array(np.where(review, "changed a lot", ""), mask=~review),
    }
    return pa.StructArray.from_arrays([_column(field, count, known) for field in FACE], fields=list(FACE))


def table(schema: pa.Schema, count: int, known: dict[str, Any]) -> pa.Table:
    """A table of the schema; columns that are not in `known` are null."""
    return pa.Table.from_arrays([_column(field, count, known) for field in schema], schema=schema)


def _column(field: pa.Field, count: int, known: dict[str, Any]) -> Any:
    if field.name not in known:
        return pa.nulls(count, field.type)
    values = known[field.name]
    return (values if isinstance(values, pa.Array) else pa.array(values)).cast(field.type)


def _write(uri: str, rows: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    storage.write_bytes(uri, sink.getvalue())
