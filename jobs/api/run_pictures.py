"""Pictures of a run's photos, made in the sandbox."""

from __future__ import annotations

from collections.abc import Callable

from jobs.api.gallery import Strip, Thumbnail
from pipeline import storage
from pipeline.archives.member import ArchiveError
from pipeline.archives.reader import read_rows
from pipeline.config.limits import Limits
from pipeline.manifest import query
from pipeline.photos.errors import PhotoError
from pipeline.report import strip
from pipeline.report.build import limits
from pipeline.report.display_copies import thumbnail
from pipeline.report.pictures import NEWEST, ORDER
from pipeline.sandbox import parent as sandbox
from pipeline.stages.row import Row
from pipeline.storage.output import Output


class RunPictures:
    """The pictures of one run. Its own limits hold, so that what it could decode can be shown."""

    def __init__(self, place: Output) -> None:
        self.place, self.limits = place, limits(place.uri)

    def rows(self, where: str, count: int) -> list[Row]:
        """The newest rows of photos that match, joined with those of the index. Raises QueryError."""
        sql = f"SELECT * FROM ({NEWEST}) WHERE {where} {ORDER} LIMIT {count}"
        found = query.reading(self.place.uri, lambda connection: query.run(connection, sql), decided=False)
        return list(found.to_pylist())

    def thumbnail(self, row: Row) -> Thumbnail:
        """The restored photo, or a photo without faces; in words why there is no picture."""
        about = (row["photo_id"], row["member"])
        if row["status"] not in ("restored", "no_face"):
            return Thumbnail(*about, f"{row['status']}: {row['error']}", None)
        try:
            if row["restored_uri"]:
                picture = self.made(thumbnail, self.after(row), 1)
            else:
                picture = self.made(thumbnail, member_bytes(row, self.limits), row["page"])
        except (ArchiveError, PhotoError, storage.StorageError) as error:
            return Thumbnail(*about, f"{row['status']}: {error}", None)
        return Thumbnail(*about, row["status"], picture)

    def strip(self, row: Row) -> Strip:
        """Raises ArchiveError, StorageError or PhotoError."""
        after = self.after(row) if row["restored_uri"] else None
        landmarks = [face["landmarks"] for face in row["faces"]]
        return Strip(self.made(strip.strip, member_bytes(row, self.limits), row["page"], after, landmarks))

    def after(self, row: Row) -> bytes:
        return storage.read_bytes(self.place.now(row["restored_uri"], row["archive_name"]))

    def made(self, work: Callable[..., bytes], *args: object) -> bytes:
        return sandbox.run(work, *args, self.limits, limits=self.limits)


def member_bytes(row: Row, limits: Limits) -> bytes:
    """The photo's member, read from its source. Raises ArchiveError or StorageError."""
    ((_, data),) = read_rows([row], limits)
    if isinstance(data, ArchiveError):
        raise data
    return data
