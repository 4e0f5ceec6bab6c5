"""A run whose manifest has many parts, and what is in it."""

from __future__ import annotations

import random
from typing import Any

from pipeline.manifest import query
from pipeline.manifest.write import write_part
from pipeline.storage.output import Output
from tests.support.rows import face, index_row, result_row, write_index

PHOTOS = 60


def member(n: int) -> str:
    return f"box/{n:03}.jpg"


def fill(output: str, parts: int = 20) -> list[dict[str, Any]]:
    """A run in which some photos were done twice, in parts of random photos; its newest rows."""
    write_index(output, [index_row(member(n)) for n in range(PHOTOS + 5)])
    order = list(range(PHOTOS))
    random.Random(0).shuffle(order)
    size = PHOTOS // parts
    for start in range(0, PHOTOS, size):
        rows = [result_row(member(n), "failed", error_type="truncated") for n in order[start : start + size]]
        write_part(rows, output, "1")
    for n in range(0, PHOTOS, 3):
        write_part([result_row(member(n), minute=1, face_count=1, faces=[face(0, psnr=float(n))])], output, "2")
    return photos(output)


def photos(output: str) -> list[dict[str, Any]]:
    with query.connect(output) as connection:
        sql = "SELECT p.*, f.psnr FROM photos AS p LEFT JOIN faces AS f USING (photo_id) ORDER BY photo_id"
        return query.run(connection, sql).to_pylist()


def log(output: str) -> list[tuple[str, Any]]:
    with query.connect(output) as connection:
        rows = query.run(connection, "SELECT photo_id, finished_at FROM manifest").to_pylist()
    return sorted((row["photo_id"], row["finished_at"]) for row in rows)


def names(output: str) -> list[str]:
    return [name for name, _ in Output(output).manifest_files()]
