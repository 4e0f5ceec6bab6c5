"""A restored photo and its faces."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.settings import Settings
from pipeline.photos.bit_depth import eight_bit
from pipeline.photos.pages import page_file
from pipeline.photos.view import view_of
from pipeline.report.strip import strip
from pipeline.sandbox import parent as sandbox
from pipeline.stages.row import Row, crops_of, published_crops

Pixels = npt.NDArray[Any]  # uint8, or uint16 where the photo has more than 8 bits a channel

SUFFIXES = {"jpeg": (".jpg", ".jpeg"), "png": (".png",), "tiff": (".tif", ".tiff")}
SUFFIXES |= {"webp": (".webp",), "avif": (".avif",)}


@dataclass(frozen=True)
class RestoredFace:
    """One face of a photo.

    Attributes:
        box: x0, y0, x1, y1 in the upright photo, px.
        landmarks: (5, 2) left eye, right eye, nose, mouth left, mouth right, px.
        measures: numbers by name, as the manifest has them: score, psnr, ssim, delta_e, ...; None without weights.
        needs_review, review_reason: whether a person should look at it, and why.
        strength: share of the restored face in its pixels, 0 to 1.
        before, after: (S, S, 3) sRGB, aligned crops, uint8 or uint16.
    """

    box: tuple[float, float, float, float]
    landmarks: npt.NDArray[np.float32]
    measures: dict[str, float | None]
    needs_review: bool
    review_reason: str | None
    strength: float
    before: Pixels = field(repr=False)
    after: Pixels = field(repr=False)


@dataclass(frozen=True)
class Restored:
    """What became of one photo.

    Attributes:
        status: "restored", or "no_face": the photo is as it was.
        format: of `to_bytes()`: jpeg, png, tiff, ...
        faces: best detector score first.
        warnings: what was lost of the photo or is uncertain, in words.
        before: the photo as a file, as it was given; of a TIFF of several pages this page alone.
        after: the restored photo as a file; None if no face was found.
        limits: for decoding these files again.
    """

    status: str
    format: str
    faces: tuple[RestoredFace, ...]
    warnings: tuple[str, ...]
    before: bytes = field(repr=False)
    after: bytes | None = field(repr=False)
    limits: Limits = field(repr=False)

    def to_bytes(self) -> bytes:
        """The restored file, as a run would write it; the photo's own file if it has no face."""
        return self.before if self.after is None else self.after

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file to a path or URI. Raises StorageError, or ValueError for the suffix of another format."""
        path = os.fspath(path)
        suffix = PurePosixPath(path).suffix.lower()
        fitting = SUFFIXES.get(self.format, (suffix,))
        if suffix not in fitting:
            words = f"name it {fitting[0]}, or give format= to from_pretrained"
            raise ValueError(f"{path}: the photo is a {self.format}; {words}")
        storage.write_bytes(storage.canonical(path), self.to_bytes())

    @cached_property
    def array(self) -> Pixels:
        """(H, W, 3) sRGB, upright; uint16 if the photo has more than 8 bits a channel."""
        pixels = sandbox.run(view_of, self.to_bytes(), self.limits, limits=self.limits).srgb
        assert pixels is not None  # one picture
        return pixels

    @property
    def image(self) -> Image.Image:
        """A PIL image in sRGB, 8 bits a channel."""
        return Image.fromarray(eight_bit(self.array))

    def _repr_png_(self) -> bytes:
        """For notebooks: the photo and its faces, before and after."""
        landmarks = [face.landmarks.tolist() for face in self.faces]
        return sandbox.run(strip, self.before, 1, self.after, landmarks, self.limits, limits=self.limits)


def restored_of(result: Row, given: bytes, settings: Settings) -> Restored:
    """The result of the last stage for a photo, given as these bytes."""
    limits = replace(settings.limits, pixels=settings.limits.pixels * settings.upscale**2)
    return Restored(
        status=result["status"],
        format=result["restored_format"] or result["format"],
        faces=tuple(faces_of(result)),
        warnings=tuple(one["words"] for one in result["warnings"] or ()),
        before=result["data"] or page_of(result, given, limits),
        after=result["restored"],
        limits=limits,
    )


def page_of(result: Row, given: bytes, limits: Limits) -> bytes:
    """The file of a photo without faces, whose row does not keep it."""
    if result["pages"] == 1:
        return given
    return sandbox.run(page_file, given, result["page"], limits, limits=limits)


def faces_of(result: Row) -> list[RestoredFace]:
    if result["status"] != "restored":
        return []
    crops = zip(crops_of(result, "crops"), published_crops(result), strict=True)
    return [face_of(one, *pair) for one, pair in zip(result["faces"], crops, strict=True)]


def face_of(found: Row, before: Pixels, after: Pixels) -> RestoredFace:
    apart = ("face_index", "box", "landmarks", "seed", "strength", "needs_review", "review_reason", "accepted")
    return RestoredFace(
        box=tuple(found["box"]),
        landmarks=np.array(found["landmarks"], np.float32),
        measures={name: value for name, value in found.items() if name not in apart},
        needs_review=found["needs_review"],
        review_reason=found["review_reason"],
        strength=found["strength"],
        before=before,
        after=after,
    )
