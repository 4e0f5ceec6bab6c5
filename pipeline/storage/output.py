"""Places in an OUTPUT."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.storage.errors import StorageError
from pipeline.storage.listing import entries, exists
from pipeline.storage.places import canonical, join

# The names of a run's own tables: of the index <archive>-<digest of its URI>, for a folder with more behind it.
INDEX_NAME = re.compile(r".*-[0-9a-f]{16}(\.[0-9a-f]{8})?(\.\d+)?\.parquet")
MANIFEST_NAME = re.compile(r"(part|merged)-.+\.parquet")
COPY_NAME = re.compile(r"copy-[0-9a-f]{20}\.parquet")
FILES = ("run.json", "run.lock.json", "manifest.json", "index.json", "status.json")
FOLDERS = ("index", "index.copies", "manifest", "restored", "withdrawn", "faces", "decisions", "report")


@dataclass(frozen=True)
class Output:
    """The parts of a run, by the URI of its OUTPUT."""

    uri: str

    @property
    def index(self) -> str:
        """Folder of the index: one or more Parquet files for each archive."""
        return join(self.uri, "index")

    @property
    def index_copies(self) -> str:
        """Folder of copies of small index files, many in one."""
        return join(self.uri, "index.copies")

    @property
    def index_json(self) -> str:
        """The list of these copies, with the files that each has."""
        return join(self.uri, "index.json")

    @property
    def manifest(self) -> str:
        """Folder of the manifest's parts."""
        return join(self.uri, "manifest")

    @property
    def restored(self) -> str:
        """Folder of the restored photos: <archive name>/<member path>.<ext>."""
        return join(self.uri, "restored")

    @property
    def withdrawn(self) -> str:
        """Folder of restored photos that curators rejected, by the same paths."""
        return join(self.uri, "withdrawn")

    @property
    def faces(self) -> str:
        """Folder of the crops that --save-faces writes: <photo_id>/<n>.png."""
        return join(self.uri, "faces")

    @property
    def decisions(self) -> str:
        """Folder of the decisions that reviewers exported."""
        return join(self.uri, "decisions")

    @property
    def report(self) -> str:
        """Folder of the review pages."""
        return join(self.uri, "report")

    @property
    def run_json(self) -> str:
        """The attempts of the run, with their settings and versions."""
        return join(self.uri, "run.json")

    @property
    def settled(self) -> str:
        """The list of merged files of the manifest of which it is known which rows are newest; compaction writes it.

        It is not in their folder, which some tools read as one table only if nothing else is in it.
        """
        return join(self.uri, "manifest.json")

    @property
    def status_json(self) -> str:
        """The last count of the whole run, and of which files."""
        return join(self.uri, "status.json")

    @property
    def lease(self) -> str:
        """The file that names the process working on this run."""
        return join(self.uri, "run.lock.json")

    def now(self, uri: str, archive_name: str | None) -> str:
        """Where a restored photo is, if OUTPUT was moved or copied since the photo was written to `uri`.

        archive_name: of the photo's archive, as the index has it; None if that is unknown.
        """
        folders = (self.restored, self.withdrawn)
        if archive_name is None or uri.startswith(tuple(f"{folder}/" for folder in folders)):
            return uri
        for folder in folders:
            _, found, path = uri.partition(f"/{folder.rpartition('/')[2]}/{archive_name}/")
            if found:
                return join(folder, archive_name, path)
        return uri

    def index_files(self) -> list[tuple[str, int]]:
        """Name and bytes of each file of the index. Raises StorageError for a stray one."""
        return [(name, size) for name, size, _ in self.index_listing()]

    def index_listing(self) -> list[tuple[str, int, str]]:
        """Name, bytes and version of each file of the index."""
        return _tables(self.index, INDEX_NAME)

    def index_copies_listing(self) -> list[tuple[str, int, str]]:
        """The same of the copies."""
        return _tables(self.index_copies, COPY_NAME)

    def manifest_files(self) -> list[tuple[str, int]]:
        """Name and bytes of each file of the manifest. Raises StorageError for a stray one."""
        return [(name, size) for name, size, _ in self.manifest_listing()]

    def manifest_listing(self) -> list[tuple[str, int, str]]:
        """Name, bytes and version of each file of the manifest."""
        return _tables(self.manifest, MANIFEST_NAME)

    def check_run(self) -> None:
        """Raises StorageError if there is no run here."""
        if not exists(self.index):
            words = "no run there (it has no index); name the OUTPUT of interlcm index or restore"
            raise StorageError(f"{self.uri}: {words}", "missing")


def is_run(uri: str) -> bool:
    """Whether a folder is the OUTPUT of a run that has begun."""
    place = Output(uri)
    return exists(place.run_json) and exists(place.index)


def _tables(folder: str, own: re.Pattern[str]) -> list[tuple[str, int, str]]:
    """The Parquet files of a folder that only a run writes to: what others put there must not be taken for results."""
    try:
        files = sorted((name, size, version) for name, kind, size, version in entries(folder) if kind == "file")
    except StorageError as error:
        if error.reason != "missing":
            raise
        return []
    tables = [file for file in files if file[0].endswith(".parquet")]
    for name, *_ in tables:
        if not own.fullmatch(name):
            raise StorageError(f"{join(folder, name)}: not a file of this run; move it to another folder")
    return tables


def check_not_in_run(uri: str) -> None:
    """Raise StorageError for a file that would lie in one of the folders that a run keeps, or replace its run.json."""
    parts = canonical(uri).split("/")
    for depth in range(1, len(parts)):
        place = Output("/".join(parts[:depth]))
        kept = parts[depth] in FOLDERS or (depth == len(parts) - 1 and parts[depth] in FILES)
        if kept and exists(place.index):
            raise StorageError(f"{uri}: {place.uri} is a run, which keeps that place for itself; name another file")
