"""Second stage: bytes to found faces and their aligned crops."""

import hashlib
import time

import numpy as np
import pyarrow as pa

from interlcm.weights_index import read_index
from pipeline import face, photo, row
from pipeline.detect import load_detector
from pipeline.diagnosis import APPLE_DOUBLE
from pipeline.row import Row
from pipeline.settings import Job, checked_weights

# Faces that one photo may have, the best ones: a photo of a crowd has some hundred, a halftone that confuses the
# detector thousands, and every crop of a photo is in memory at once (786 kB each at 512 x 512).
MAX_FACES = 256

# A member named like this is meant to be a photo: when its content is none, it was damaged.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".dib", ".jp2", ".j2k",
    ".jpf", ".jpx", ".jxl", ".jxr", ".heic", ".heif", ".avif", ".psd", ".dng", ".nef", ".cr2", ".cr3", ".arw",
)  # fmt: skip


class FindFaces:
    """Actor: decodes each photo, finds the faces and cuts them out. Holds one detector."""

    def __init__(self, job: Job) -> None:
        job.environment.use()
        folder = checked_weights(job)
        self.size = int(read_index(folder)["image_size"])
        self.detector = load_detector(job.settings.detector, folder / "face")
        self.settings = job.settings

    def __call__(self, table: pa.Table) -> pa.Table:
        return row.each_open(table, self.find)

    def find(self, current: Row) -> Row:
        """Adds digest, format, size, faces and crops; `no_face`, `skipped` or `failed` where it ends here."""
        begun = time.perf_counter()
        current = {**current, "sha256": hashlib.sha256(current["data"]).hexdigest()}
        try:
            decoded = photo.decode(current["data"])
        except photo.PhotoError as error:
            return without_photo(current, error)
        found, aligned = self.detected(decoded.pixels)
        current |= {
            "format": decoded.format,
            "width": decoded.width,
            "height": decoded.height,
            "bit_depth": decoded.bit_depth,
            "detector": self.detector.name,
            "faces": [self.describe(current, n, one, aligned[n][1]) for n, one in enumerate(found)],
            "seconds_detect": time.perf_counter() - begun,
        }
        if not found:
            return row.ended(current, "no_face")
        return {**current, "crops": np.stack([crop for crop, _ in aligned]).tobytes()}

    def detected(self, pixels: face.Pixels) -> tuple[list[face.Face], list[tuple[face.Pixels, face.Matrix]]]:
        """The best MAX_FACES faces that can be cut out, and crop and matrix of each."""
        found, aligned = [], []
        for one in self.detector.detect(pixels, self.settings.min_face)[:MAX_FACES]:
            try:
                aligned.append(face.align(pixels, one.landmarks, self.size))
            except ValueError:  # landmarks in one spot or on a line: no face that could be restored
                continue
            found.append(one)
        return found, aligned

    def describe(self, current: Row, index: int, one: face.Face, matrix: face.Matrix) -> Row:
        return {
            "score": one.score,
            "box": list(one.box),
            "landmarks": one.landmarks.ravel().tolist(),
            "matrix": matrix.ravel().tolist(),
            "seed": face_seed(current["sha256"], index, self.settings.seed),
        }


def without_photo(current: Row, error: photo.PhotoError) -> Row:
    """The row of a member that did not decode: skipped where nothing says that it should have."""
    stray = current["data"].startswith(APPLE_DOUBLE) or not current["member"].lower().endswith(IMAGE_SUFFIXES)
    if error.error_type != "not_an_image":
        return row.ended(current, "failed", error.error_type, str(error))
    if stray:
        return row.ended(current, "skipped", error.error_type, str(error))
    return row.ended(current, "failed", error.error_type, "named like an image, but its content is none")


def face_seed(sha256: str, index: int, seed: int) -> int:
    """The seed of one face's noise, 63 bits of SHA-256 over the photo's digest, the face's place and the run's seed."""
    digest = hashlib.sha256(f"{sha256}/{index}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
