"""A run from outside: its tables in Arrow, and pictures for a notebook."""

from __future__ import annotations

import pyarrow as pa

from jobs.api.gallery import Gallery, Strip
from pipeline import storage
from pipeline.manifest import query
from pipeline.storage.output import Output


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
        return query.reading(self.place.uri, lambda connection: query.run(connection, sql), whole=whole)

    def thumbnails(self, where: str = "true", count: int = 24) -> Gallery:
        """Small pictures of the first photos that match, restored ones as they are now. where: SQL on `photos`.

        A photo that cannot be shown has its reason in words. Raises QueryError or StorageError.
        """
        from jobs.api.run_pictures import RunPictures  # here: tables need no decoders

        pictures = RunPictures(self.place)
        return Gallery(tuple(pictures.thumbnail(row) for row in pictures.rows(where, count)))

    def strip(self, photo_id: str) -> Strip:
        """A photo before and after, and its faces. The source is read again.

        Raises ValueError for a photo that is not there, ArchiveError or StorageError if its file cannot be read,
        PhotoError if it does not decode.
        """
        from jobs.api.run_pictures import RunPictures  # here: tables need no decoders

        pictures = RunPictures(self.place)
        found = pictures.rows("photo_id = '{}'".format(photo_id.replace("'", "''")), 1)
        if not found:
            raise ValueError(f"{self.place.uri}: no photo {photo_id}; photos() lists those that it has")
        return pictures.strip(found[0])
