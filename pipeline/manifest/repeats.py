"""Photos that have a row in several merged files, and these files with all but the newest rows set behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest import dataset, views
from pipeline.manifest.parts import OLDER, with_older
from pipeline.manifest.schema import MANIFEST_SCHEMA, NEWEST_FIRST
from pipeline.manifest.settled import Settled

MEMORY = "800MB"  # of DuckDB while it compares files; the rest goes to disk
REPEATED = "SELECT photo_id FROM rows GROUP BY photo_id HAVING count(*) > 1"
KEYS = ["photo_id", "status", "attempt", "finished_at"]
# The rows that are not the newest of their photo, and whether the same row is in another file, too.
BEATEN = f"""
SELECT file, photo_id, finished_at,
    row_number() OVER (PARTITION BY photo_id, finished_at ORDER BY {NEWEST_FIRST}, file) > 1 AS copy
FROM rows QUALIFY row_number() OVER (PARTITION BY photo_id ORDER BY {NEWEST_FIRST}, file) > 1
"""


def repeated(folder: str, files: Sequence[Settled]) -> pa.Array:
    """The photo_ids that several of the newest rows of these files have."""
    heads = dataset.of(folder, [(file.name, file.groups) for file in files], MANIFEST_SCHEMA)
    return _asked(REPEATED, heads)["photo_id"].combine_chunks()


def parted(folder: str, files: Sequence[Settled], photos: pa.Array) -> Iterator[tuple[Settled, pa.Table]]:
    """Each file that has a row of these photos that is not the newest, with its rows: such rows are marked as older.

    A row that another file has, too, is left out. Needs the memory of one file.
    """
    found = [_of_photos(folder, file, number, photos) for number, file in enumerate(files)]
    beaten = _asked(BEATEN, pa.concat_tables(found))
    for number, file in enumerate(files):
        mine = beaten.filter(pc.equal(beaten["file"], number))
        if len(mine):
            filesystem, path = storage.arrow_filesystem(storage.join(folder, file.name))
            rows = with_older(pq.read_table(path, filesystem=filesystem), file.newest)
            copies, older = mine.filter(mine["copy"]), mine.filter(pc.invert(mine["copy"]))
            kept = pc.or_(rows[OLDER], pc.invert(pc.is_in(_name(rows), _name(copies))))
            rows = rows.filter(kept)
            marked = pc.or_(rows[OLDER], pc.is_in(_name(rows), _name(older)))
            yield file, rows.set_column(rows.schema.get_field_index(OLDER), OLDER, marked)


def _of_photos(folder: str, file: Settled, number: int, photos: pa.Array) -> pa.Table:
    filesystem, path = storage.arrow_filesystem(storage.join(folder, file.name))
    rows = pq.ParquetFile(path, filesystem=filesystem).read_row_groups(range(file.groups), KEYS)
    rows = rows.filter(pc.is_in(rows["photo_id"], photos))
    return rows.append_column("file", pa.repeat(number, len(rows)))


def _name(rows: pa.Table) -> pa.Array:
    """One text for photo and moment."""
    moment = pc.cast(pc.cast(rows["finished_at"], pa.int64()), pa.string())
    return pc.binary_join_element_wise(rows["photo_id"], moment, " ").combine_chunks()


def _asked(sql: str, rows: pa.Table) -> pa.Table:
    with views.locked(MEMORY) as connection:
        connection.register("rows", rows)
        return connection.sql(sql).to_arrow_table()
