"""Second stage: bytes to found faces and their aligned crops."""

import hashlib
import time

import numpy as np
import pyarrow as pa

from interlcm.weights_index import read_index
from pipeline import face, photo, row, storage
from pipeline.detect import load_detector
from pipeline.row import Row
from pipeline.settings import Job, weights_folder


class FindFaces:
    """Actor: decodes each photo, finds the faces and cuts them out. Holds one detector."""

    def __init__(self, job: Job) -> None:
        storage.configure(job.environment)
        folder = weights_folder(job.settings)
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
            status = "skipped" if error.error_type == "not_an_image" else "failed"
            return row.ended(current, status, error.error_type, str(error))
        found = self.detector.detect(decoded.pixels, self.settings.min_face)
        aligned = [face.align(decoded.pixels, one.landmarks, self.size) for one in found]
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

    def describe(self, current: Row, index: int, one: face.Face, matrix: face.Matrix) -> Row:
        return {
            "score": one.score,
            "box": list(one.box),
            "landmarks": one.landmarks.ravel().tolist(),
            "matrix": matrix.ravel().tolist(),
            "seed": face_seed(current["sha256"], index, self.settings.seed),
        }


def face_seed(sha256: str, index: int, seed: int) -> int:
    """The seed of one face's noise, 63 bits of SHA-256 over the photo's digest, the face's place and the run's seed."""
    digest = hashlib.sha256(f"{sha256}/{index}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
