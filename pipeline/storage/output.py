"""Places in an OUTPUT."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.storage.errors import StorageError
from pipeline.storage.files import exists, join


@dataclass(frozen=True)
class Output:
    """The parts of a run, by the URI of its OUTPUT."""

    uri: str

    @property
    def index(self) -> str:
        """Folder of the index: one or more Parquet files for each archive."""
        return join(self.uri, "index")

    @property
    def manifest(self) -> str:
        """Folder of the manifest's parts."""
        return join(self.uri, "manifest")

    @property
    def restored(self) -> str:
        """Folder of the restored photos: <archive name>/<member path>.<ext>."""
        return join(self.uri, "restored")

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
    def lease(self) -> str:
        """The file that names the process working on this run."""
        return join(self.uri, "run.lock.json")

    def check_run(self) -> None:
        """Raises StorageError if there is no run here."""
        if not exists(self.index):
            words = "no run there (it has no index); name the OUTPUT of interlcm index or restore"
            raise StorageError(f"{self.uri}: {words}", "missing")
