"""Second stage, detect: find the faces in a photo and cut out aligned crops."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.archives import unread
from pipeline.archives.member import ArchiveError, not_read
from pipeline.archives.tar_headers import is_header
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.faces import alignment
from pipeline.faces.alignment import Matrix, Pixels
from pipeline.faces.detectors import detector_files, load_detector
from pipeline.faces.face import Face, iou, nearest_middle
from pipeline.faces.search import Found, search
from pipeline.index.schema import page_id
from pipeline.manifest.standing import SAME_PLACE
from pipeline.photos import pages as photo_pages
from pipeline.photos import raw_preview
from pipeline.photos.bit_depth import eight_bit
from pipeline.photos.diagnosis import APPLE_DOUBLE
from pipeline.photos.errors import PhotoError
from pipeline.photos.monochrome import is_monochrome_face
from pipeline.photos.suffixes import IMAGE_SUFFIXES
from pipeline.photos.view import View, view_of
from pipeline.photos.warning import PhotoWarning
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.row import Row
from pipeline.weights.local import checked_weights

# Faces, the crop and (2, 3) matrix of each, rotation in degrees, warnings.
Located = tuple[list[Face], list[tuple[Pixels, Matrix]], int, list[PhotoWarning]]


@dataclass
class Spent:
    """What the pages of one member took so far, as measured: a directory may state a wrong size."""

    seconds: float
    pixels: int = 0

    def left_of(self, limits: Limits) -> Limits:
        """The limits of the next page. Raises PhotoError if nothing is left."""
        photo_pages.check_together(self.pixels, limits)
        seconds = math.ceil(limits.member_seconds - self.seconds)
        if seconds < 1:
            words = f"the pages before it took the {limits.member_seconds} s of the whole file (member_seconds)"
            raise PhotoError("too_slow", words)
        return replace(limits, seconds=min(limits.seconds, seconds))


class DetectFaces:
    """Actor: decodes each photo, finds the faces and cuts them out. Holds one detector.

    A TIFF with several pages becomes one row per page; every other row stays one row.
    """

    def __init__(self, job: Job, device: str = "cpu") -> None:
        job.environment.use()
        telemetry.label(job.output, job.number)
        parts = checked_weights(job, detector_files(job.settings.detector))
        self.size = int(parts.index["image_size"])
        self.settings, self.limits, self.verdicts = job.settings, job.settings.limits, job.verdicts
        self.detector = None if job.settings.aligned else load_detector(job.settings.detector, parts, device)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for current in table.to_pylist():
            for found in self.photos(current) if current["status"] is None else [current]:
                yield row.to_table([found], "detect")

    def photos(self, current: Row) -> Iterator[Row]:
        """The rows of a member: one, or one for each page."""
        begun = time.perf_counter()
        data = current["data"]
        current = {**current, "sha256": hashlib.sha256(data).hexdigest()}
        try:
            if self.settings.raw == "preview":
                current = self.of_raw(current)
            seen = self.look(current["data"])
        except PhotoError as error:
            yield without_photo(current, error)
            return
        except Exception as error:  # an unexpected error of a decoder
            yield row.unforeseen(current, error)
            return
        if len(seen.pages) == 1:
            yield row.guarded(current, partial(self.find, seen=seen, begun=begun))
            return
        spent = Spent(seconds=time.perf_counter() - begun)
        for number, page in enumerate(seen.pages, 1):
            yield row.guarded(page_row(current, number, len(seen.pages)), partial(self.page, page=page, spent=spent))

    def look(self, data: bytes, limits: Limits | None = None) -> View:
        """The decoded photo. Raises PhotoError."""
        telemetry.decoded("detect")
        return sandbox.run(view_of, data, self.limits, limits=limits or self.limits)

    def of_raw(self, current: Row) -> Row:
        """The row of a camera's raw file with the preview in it, which goes on in its place; others as they are."""
        found = sandbox.run(raw_preview.preview, current["data"], limits=self.limits)
        return row.warned(current, [found[1]]) | {"data": found[0]} if found else current

    def page(self, current: Row, page: int, spent: Spent) -> Row:
        """One page of a TIFF. It continues as a TIFF of its own, so that later stages get no other page.

        spent: by the pages before it. Raises PhotoError if nothing is left of the member's limits.
        """
        begun = time.perf_counter()
        limits = spent.left_of(self.limits)
        try:
            data = sandbox.run(photo_pages.extract, current["data"], page, limits=limits)
            seen = self.look(data, limits)
            spent.pixels += seen.width * seen.height
            return self.find({**current, "data": data}, seen, begun)
        finally:
            spent.seconds += time.perf_counter() - begun

    def find(self, current: Row, seen: View, begun: float) -> Row:
        """Adds format, size, faces and crops. A photo without faces to restore ends here with status `no_face`, unless
        it goes into restored/ too."""
        assert seen.srgb is not None
        found, aligned, rotation, large = self.located(seen.srgb)
        current = row.warned(current, (*seen.warnings, *large)) | {
            "format": seen.format,
            "width": seen.width,
            "height": seen.height,
            "bit_depth": seen.bit_depth,
            "monochrome": seen.monochrome,
            "detector": self.detector.name if self.detector else None,
            "rotation": rotation if found and self.detector else None,
            **self.reviewed(current["photo_id"]),
            "faces": [self.describe(current, n, one, *aligned[n], seen.monochrome) for n, one in enumerate(found)],
            "seconds_detect": time.perf_counter() - begun,
        }
        if not found:
            return row.ended(current, "no_face") if self.settings.every_photo == "no" else current
        return {**current, "crops": np.stack([crop for crop, _ in aligned]).tobytes()}

    def located(self, pixels: Pixels) -> Located:
        """The faces, the crop and matrix of each, the photo's rotation (degrees clockwise) that makes them upright, and
        a warning for those that are too large.

        An aligned photo is one face as a whole.
        """
        return (*self.whole(pixels), 0, []) if self.detector is None else self.detected(pixels)

    def seen(self, pixels: Pixels) -> Found:
        """All faces that the detector finds."""
        assert self.detector is not None
        return search(self.detector, eight_bit(pixels), self.settings.min_face, self.limits.detect_pixels)

    def detected(self, pixels: Pixels) -> Located:
        """The best faces that can be cut out, at most `max_faces`; none that is wider than `max_face`."""
        found: list[Face] = []
        aligned: list[tuple[Pixels, Matrix]] = []
        seen = self.seen(pixels)
        faces = nearest_middle(seen.faces, pixels) if self.settings.center_face else seen.faces
        most = self.settings.max_face or math.inf
        for one in [one for one in faces if one.width <= most]:
            if len(found) == self.settings.max_faces:
                break
            try:
                aligned.append(alignment.align(pixels, one.landmarks, self.size))
            except ValueError:  # landmarks in one spot or on a line: this face cannot be restored
                continue
            found.append(one)
        return found, aligned, seen.rotation, self.left_alone([one for one in faces if one.width > most])

    def left_alone(self, large: list[Face]) -> list[PhotoWarning]:
        widths = ", ".join(str(round(width)) for width in sorted((one.width for one in large), reverse=True))
        words = f"wider than {self.settings.max_face} px (--max-face), left as it is: a face of {widths} px"
        return [PhotoWarning("large_face", words)] if large else []

    def whole(self, pixels: Pixels) -> tuple[list[Face], list[tuple[Pixels, Matrix]]]:
        """A photo that is already an aligned face."""
        height, width = pixels.shape[:2]
        if width != height:
            raise PhotoError("not_aligned", f"{width} x {height} px: --aligned takes square face crops")
        matrix = alignment.whole(width, height, self.size)
        crop: Any = np.rint(alignment.cut(pixels, matrix, self.size)).clip(0, np.iinfo(pixels.dtype).max)
        points = (alignment.TEMPLATE * (width / alignment.TEMPLATE_SIZE)).astype(np.float32)
        return [Face((0, 0, width, height), points, 1.0)], [(crop.astype(pixels.dtype), matrix)]

    def describe(self, current: Row, index: int, one: Face, crop: Pixels, matrix: Matrix, in_monochrome: bool) -> Row:
        return {
            "score": one.score,
            "box": list(one.box),
            "landmarks": one.landmarks.ravel().tolist(),
            "matrix": matrix.ravel().tolist(),
            "seed": face_seed(current["sha256"], current["page"], index, self.settings.seed),
            "one_tone": is_monochrome_face(crop, in_monochrome),
            **self.judged(current["photo_id"], one),
        }

    def reviewed(self, photo_id: str) -> Row:
        """The columns of a photo that curators decided on."""
        verdict = self.verdicts.get(photo_id)
        names = ("withdrawn", "reviewed_as", "reviewed_by", "reviewed_at")
        return {name: getattr(verdict, name) for name in names} if verdict else {}

    def judged(self, photo_id: str, one: Face) -> Row:
        """The strength of a face, and the decision that it follows: those of the judged face in the same place."""
        verdict = self.verdicts.get(photo_id)
        near = max(verdict.faces if verdict else (), key=lambda face: iou(face.box, one.box), default=None)
        if near is None or iou(near.box, one.box) <= SAME_PLACE:
            return {"strength": self.settings.strength, "accepted": None}
        return {"strength": near.strength, "accepted": near.accepted}


def page_row(current: Row, number: int, pages: int) -> Row:
    """The row of one page; the first page keeps the photo_id of the member's row."""
    return {**current, "photo_id": page_id(current["photo_id"], number), "page": number, "pages": pages}


def without_photo(current: Row, error: PhotoError) -> Row:
    """The row of a member that did not decode: skipped if neither its name nor its content says that it is a photo."""
    inside = archive_in(current["data"]) if error.error_type == "not_an_image" else None
    if inside is not None:
        return row.ended(current, "failed", inside.error_type, str(inside))
    stray = current["data"].startswith(APPLE_DOUBLE) or not current["member"].lower().endswith(IMAGE_SUFFIXES)
    if error.error_type != "not_an_image":
        return row.ended(current, "failed", error.error_type, str(error))
    if stray:
        return row.ended(current, "skipped", error.error_type, str(error))
    return row.ended(current, "failed", error.error_type, "named like an image, but its content is not an image")


def archive_in(data: bytes) -> ArchiveError | None:
    """The error for a member that is an archive itself: what it holds is not looked for."""
    what = "a tar archive" if is_header(data[:512]) else unread.kind_of(data[: unread.FIRST])
    return not_read("", what) if what else None


def face_seed(sha256: str, page: int, index: int, seed: int) -> int:
    """The seed of one face's noise: 63 bits of SHA-256 over the file's digest, the page, the face's index and the run's
    seed."""
    place = f"{sha256}/{index}/{seed}" if page == 1 else f"{sha256}/p{page}/{index}/{seed}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") >> 1
