"""CSV tables for ingest: one row for each photo of an export, in the columns of another system.

Sources of the columns, one for each system:
islandora      Islandora Workbench, "Fields": https://mjordan.github.io/islandora_workbench_docs/fields/ and /fixity/
archivematica  "Import metadata": https://www.archivematica.org/en/docs/latest/user-manual/transfer/import-metadata/
omeka          Omeka S, module CSV Import: https://omeka.org/s/docs/user-manual/modules/csvimport/
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator
from urllib.parse import quote

import duckdb

from pipeline import storage
from pipeline.export import photos
from pipeline.export.photos import Counts, Row, media_type, path_of
from pipeline.manifest import query
from pipeline.storage.output import check_not_in_run

TITLE = 255  # characters of a title in Drupal, on which Islandora stands
# The file that each system looks for.
FILES = {"islandora": "islandora.csv", "archivematica": "metadata.csv", "omeka": "omeka.csv"}


def write_table(output: str, folder: str, system: str, base: str) -> Iterator[Counts]:
    """Write the table of one of FILES into a folder; yields what it has before it begins.

    base: what stands before the path of each file: a URL or a folder, with its slash, or nothing. Raises ExportError,
    StorageError.
    """
    output = storage.canonical(output)
    uri = storage.join(folder, FILES[system])
    check_not_in_run(uri)
    with query.streaming(output, photos.MEMORY) as rows:
        yield photos.counts(rows)
        storage.write_pieces(uri, lines(rows, output, system, base))


def lines(connection: duckdb.DuckDBPyConnection, output: str, system: str, base: str) -> Iterator[bytes]:
    """The table of a system, some rows at a time, as UTF-8."""
    columns = COLUMNS[system]
    yield _encoded([list(columns)])
    for batch in photos.ordered(connection).to_arrow_reader(photos.BATCH_ROWS):
        kept = [Photo(row, output, base) for row in batch.to_pylist() if row["kept"]]
        yield _encoded([[value(photo) for value in columns.values()] for photo in kept])


def _encoded(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


class Photo:
    """What the tables say of a photo, in words that no system takes apart."""

    def __init__(self, row: Row, output: str, base: str) -> None:
        self.row = row
        self.path = path_of(row, output)
        self.base = base

    def file(self) -> str:
        return self.base + (quote(self.path) if "://" in self.base else self.path)

    def title(self) -> str:
        page = f", page {self.row['page']}" if self.row["pages"] > 1 else ""
        return one_value(f"{self.row['member']}{page}")

    def short_title(self) -> str:
        return self.title()[-TITLE:]

    def identifier(self) -> str:
        return str(self.row["photo_id"])

    def format(self) -> str:
        return media_type(self.path)

    def source(self) -> str:
        archive = posixpath.basename(self.row["source"].rstrip("/"))
        return one_value(f"{archive}: {self.row['member']} (sha256 {self.row['sha256']})")

    def description(self) -> str:
        """The honest sentence that a reader of the catalogue needs."""
        faces = self.row["face_count"]
        if not faces:
            return "A copy of the photo, in which no face was restored."
        count = f"{faces} face{'' if faces == 1 else 's'}"
        return f"{count} in this copy restored by a generative model; the restored faces are no record of the people."

    def provenance(self) -> str:
        software = f"InterLCM {self.row['software_version'] or 'of an unknown version'}"
        weights = f", weights sha256 {self.row['weights_digest']}" if self.row["weights_digest"] else ""
        return f"Restored on {self.row['made_at']:%Y-%m-%d} by {software}{weights}"

    def decision(self) -> str:
        said = [one["decision"] for one in self.row["decided"] or [] if one["face_index"] is None]
        return {"accept": "accepted by a curator", "reject": "rejected by a curator"}.get(said[0] if said else "", "")

    def sha256(self) -> str:
        return str(self.row["restored_sha256"])


def one_value(text: str) -> str:
    """Text without line ends, and without | and ;, at which Islandora and Omeka cut a cell into several values."""
    return " ".join(text.replace("|", "\u00a6").replace(";", ",").split())


Column = Callable[[Photo], str]
COLUMNS: dict[str, dict[str, Column]] = {
    "islandora": {
        "id": Photo.identifier,
        "file": Photo.file,
        "title": Photo.short_title,
        "field_model": lambda photo: "Image",
        "field_local_identifier": Photo.identifier,
        "field_description": lambda photo: f"{photo.description()} {photo.provenance()}.",
        "checksum": Photo.sha256,
    },
    "archivematica": {
        "filename": Photo.file,
        "dc.title": Photo.title,
        "dc.identifier": Photo.identifier,
        "dc.description": Photo.description,
        "dc.source": Photo.source,
        "dc.type": lambda photo: "StillImage",
        "dc.format": Photo.format,
        "dcterms.provenance": Photo.provenance,
        "decision": Photo.decision,
    },
    "omeka": {
        "dcterms:title": Photo.title,
        "dcterms:identifier": Photo.identifier,
        "dcterms:description": Photo.description,
        "dcterms:source": Photo.source,
        "dcterms:type": lambda photo: "StillImage",
        "dcterms:format": Photo.format,
        "dcterms:provenance": Photo.provenance,
        "media": Photo.file,
    },
}
