"""What an attempt has committed so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.cluster import telemetry
from pipeline.index.schema import root_id
from pipeline.run.waiting import Waiting


@dataclass(frozen=True)
class Done:
    """Committed photos. photos: members of archives; a member with several pages counts once."""

    photos: int = 0
    faces: int = 0
    failed: int = 0

    @staticmethod
    def of(table: pa.Table) -> Done:
        """Those of a table of the last stage."""
        return Done(
            sum(root_id(photo_id) == photo_id for photo_id in table["photo_id"].to_pylist()),
            sum(table["face_count"].to_pylist()),
            table["status"].to_pylist().count("failed"),
        )

    def __add__(self, other: Done) -> Done:
        return Done(self.photos + other.photos, self.faces + other.faces, self.failed + other.failed)


@dataclass
class Progress:
    """What this attempt has committed so far.

    total: files to do. earlier: files with a result of an earlier attempt. on_ray: it runs on Ray, not in this process.
    before: faces that this process restored before the attempt. waiting: what for, while nothing moves.
    """

    total: int
    on_ray: bool = False
    earlier: int = 0
    done: int = 0
    faces: int = 0
    failed: int = 0
    before: int = field(default_factory=lambda: telemetry.faces_here)
    begun: float = field(default_factory=time.monotonic)
    waiting: Waiting | None = None

    @property
    def faces_so_far(self) -> int:
        """Faces in committed photos; without Ray, also the restored faces of photos in progress."""
        if self.on_ray or self.done == self.total:
            return self.faces
        return max(self.faces, telemetry.faces_here - self.before)

    def add(self, done: Done) -> None:
        self.done += done.photos
        self.faces += done.faces
        self.failed += done.failed
        if self.waiting is not None and not self.waiting.slow:
            self.waiting = None
