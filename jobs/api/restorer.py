"""One photo in, one restored photo out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Unpack

from interlcm.weights_index import DEMO
from jobs.api.here import Stages, open_row
from jobs.api.options import Device, Options, prepared
from jobs.api.photo import Given, Photo, given
from jobs.api.restored import Restored, restored_of
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.photos.errors import PhotoError


class Restorer:
    """A detector and a model, loaded once, for any number of photos. It serves one call at a time."""

    def __init__(self, job: Job, resources: Resources) -> None:
        """Users call `from_pretrained`. Raises WeightsError or DetectorError."""
        self.settings = job.settings
        self.stages = Stages(job, resources)

    @classmethod
    def from_pretrained(
        cls, weights: str = DEMO, *, device: Device | None = None, **options: Unpack[Options]
    ) -> Restorer:
        """Load a weights folder, a path or URI, or the weights that come with the package ("demo").

        device: "cpu" or "cuda"; None: a GPU if there is one. options: those of `interlcm restore`, by the same names.

        Raises ValueError for an option, WeightsError, StorageError, DetectorError, RunError or SigningError.
        """
        return cls(*prepared(weights, device, options))

    def restore(self, photo: Photo, *, source: str = "", member: str = "") -> Restored:
        """Restore one photo.

        Args:
            photo: a path or URI, the bytes of a file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8
                or uint16, RGB.
            source, member: the archive and the path in it that the restored file names as its source; by default the
                folder and name of a path.

        Raises PhotoError for a photo that cannot be restored, StorageError for a path that cannot be read, ValueError
        for a TIFF of several pages.
        """
        (restored,) = self.pages(photo, source, member, single=True)
        return restored

    def restore_pages(self, photo: Photo, *, source: str = "", member: str = "") -> list[Restored]:
        """Restore each page of a TIFF that has several; one result for any other photo. Raises as `restore` does."""
        return list(self.pages(photo, source, member))

    def pages(self, photo: Photo, source: str, member: str, single: bool = False) -> Iterator[Restored]:
        file = given(photo, source, member, self.settings.limits.member_bytes)
        row = open_row("photo", file.data, file.source, file.member)
        with closing(self.stages.results([row])) as results:
            for result in results:
                if single and result["pages"] > 1:
                    raise ValueError(f"{named(file)}: {result['pages']} pages; restore_pages restores all of them")
                if result["status"] not in ("restored", "no_face"):
                    raise PhotoError(result["error_type"], f"{named(file)}: {result['error']}")
                yield restored_of(result, file.data, self.settings)


def named(file: Given) -> str:
    """How messages call a photo."""
    return file.member or "the photo"
