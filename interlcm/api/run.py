"""A run from outside: its tables in Arrow, and pictures for a notebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from interlcm.api.gallery import Gallery, Strip, Thumbnail
from pipeline import storage
from pipeline.archives.member import ArchiveError
from pipeline.config.limits import Limits
from pipeline.photos.errors import PhotoError
from pipeline.sandbox import parent as sandbox
from pipeline.stages.row import Row
from pipeline.storage.output import Output

if TYPE_CHECKING:
    import pyarrow as pa


def open_run(output: str) -> Run:
    """The run at OUTPUT, a path or URI; it may still be at work. Raises StorageError if there is none."""
    place = Output(storage.canonical(output))
    place.check_run()
    return Run(place)


class Run:
    """A run. Each call reads anew, so that a run at work shows what it has done so far."""

    def __init__(self, place: Output) -> None:
        self.place = place

    def __repr__(self) -> str:
        return f"Run({self.place.uri!r})"

    def photos(self) -> pa.Table:
        """The newest row of each photo, without its faces. Columns: docs/manifest.md."""
        return self.query("FROM photos", whole=True)

    def faces(self) -> pa.Table:
        """A row for each face of these photos."""
        return self.query("FROM faces", whole=True)

    def decisions(self) -> pa.Table:
        """What curators decided in the report: the newest decision on each photo and face."""
        return self.query("FROM decisions")

    def query(self, sql: str, whole: bool = False) -> pa.Table:
        """The rows of one SELECT on `photos`, `faces`, `index`, `manifest` and `decisions`, as `interlcm query` has it.

        whole: the question is about all photos, not about some that a condition selects; then it takes less memory.
        Raises QueryError for SQL that cannot run, StorageError, or DecisionError for a damaged file of decisions.
        """
        from pipeline.manifest import query  # here: it brings DuckDB

        return query.reading(self.place.uri, lambda connection: query.run(connection, sql), whole=whole)

    def thumbnails(self, where: str = "true", count: int = 24) -> Gallery:
        """Small pictures of the first photos that match, restored ones as they are now. where: SQL on `photos`.

        A photo that cannot be shown has its reason in words. Raises QueryError or StorageError.
        """
        return Gallery(tuple(self.thumbnail(row) for row in self.rows(where, count)))

    def strip(self, photo_id: str) -> Strip:
        """A photo before and after, and its faces. The source is read again.

        Raises ValueError for a photo that is not there, ArchiveError or StorageError if its file cannot be read,
        PhotoError if it does not decode.
        """
        found = self.rows("photo_id = '{}'".format(photo_id.replace("'", "''")), 1)
        if not found:
            raise ValueError(f"{self.place.uri}: no photo {photo_id}; photos() lists those that it has")
        from pipeline.report.strip import strip

        (row,) = found
        after = storage.read_bytes(self.restored(row)) if row["restored_uri"] else None
        landmarks = [face["landmarks"] for face in row["faces"]]
        return Strip(self.sandboxed(strip, member_bytes(row, self.limits), row["page"], after, landmarks))

    def rows(self, where: str, count: int) -> list[Row]:
        """The newest rows of photos, joined with those of the index."""
        from pipeline.report.pictures import NEWEST, ORDER

        return self.query(f"SELECT * FROM ({NEWEST}) WHERE {where} {ORDER} LIMIT {count}").to_pylist()

    def thumbnail(self, row: Row) -> Thumbnail:
        about = (row["photo_id"], row["member"])
        if row["status"] not in ("restored", "no_face"):
            return Thumbnail(*about, f"{row['status']}: {row['error']}", None)
        from pipeline.report.display_copies import thumbnail

        try:
            if row["restored_uri"]:
                picture = self.sandboxed(thumbnail, storage.read_bytes(self.restored(row)), 1)
            else:
                picture = self.sandboxed(thumbnail, member_bytes(row, self.limits), row["page"])
        except (ArchiveError, PhotoError, storage.StorageError) as error:
            return Thumbnail(*about, f"{row['status']}: {error}", None)
        return Thumbnail(*about, row["status"], picture)

    def restored(self, row: Row) -> str:
        return self.place.now(row["restored_uri"], row["archive_name"])

    @cached_property
    def limits(self) -> Limits:
        """Those of the run, so that what it could decode can be shown."""
        from pipeline.report.build import limits

        return limits(self.place.uri)

    def sandboxed(self, work: Callable[..., bytes], *args: object) -> bytes:
        return sandbox.run(work, *args, self.limits, limits=self.limits)


def member_bytes(row: Row, limits: Limits) -> bytes:
    """The photo's member, read from its source. Raises ArchiveError or StorageError."""
    from pipeline.archives.reader import read_rows

    ((_, data),) = read_rows([row], limits)
    if isinstance(data, ArchiveError):
        raise data
    return data
