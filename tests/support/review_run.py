"""A small run for review: real photos in a real archive, restored by hand, with every status and one flagged face."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.settings import Review
from pipeline.faces.alignment import TEMPLATE
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from pipeline.manifest.query import connect, run
from pipeline.manifest.write import write_part
from tests.support import pictures as support_pictures
from tests.support.archives import tar_bytes
from tests.support.pictures import Pixels
from tests.support.rows import face, result_row

HOSTILE = "box2/<img src=x onerror=document.title='owned'>.jpg"  # a member's name, as an archive may have it
WARNED = "webp has no place for IPTC"
FLAGGED = "changed a lot: psnr 16.0 dB is below 18"


Photos = dict[str, tuple[Pixels, list[tuple[float, float, float]]]]
"""Member -> its pixels and the faces in it: x and y of the middle, and the distance of the eyes, px."""


def some_photos() -> Photos:
    hopper, astronaut = support_pictures.hopper(512), support_pictures.astronaut(512)
    return {
        "box1/astronaut.jpg": (astronaut, [(235, 205, 70)]),
        "box1/hopper.jpg": (hopper, [(265, 225, 84)]),
        "box2/pair.png": (support_pictures.side_by_side(astronaut, hopper), [(235, 205, 70), (777, 225, 84)]),
        HOSTILE: (support_pictures.astronaut(256), [(118, 103, 35)]),
    }


@functools.cache  # a second for each
def large_scan() -> Photos:
    """One strip of 9000 x 600 px with grain and a face in the middle."""
    grain = np.random.default_rng(0).integers(-40, 41, (600, 9000, 1))
    strip = np.full((600, 9000, 3), 90, np.int64)
    strip[44:556, 4244:4756] = support_pictures.astronaut(512)
    return {"strip.png": (np.clip(strip + grain, 0, 255).astype(np.uint8), [(4479, 249, 70)])}


def write_run(folder: Path, photos: Photos | None = None) -> str:
    """Write archive, index, restored photos, manifest and run.json below `folder`; returns OUTPUT."""
    output, photos = str(folder / "out"), some_photos() if photos is None else photos
    members = {name: encoded(pixels, Path(name).suffix) for name, (pixels, _) in photos.items()}
    members |= {
        "box2/coffee.jpg": encoded(support_pictures.coffee(300), ".jpg"),
        "box2/broken.jpg": b"\xff\xd8\xff",
        "notes.txt": b"x",
    }
    archive = folder / "scans.tar"
    folder.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(tar_bytes(members))
    write_archive(
        Source(str(archive), "file"),
        "scans.tar",
        storage.join(output, "index", "scans-0123456789abcdef.parquet"),
        output,
        Limits(),
    )
    with connect(output) as connection:
        index = run(connection, "FROM index").to_pylist()
    rows = [finished(row, members[row["member"]], output, minute, photos) for minute, row in enumerate(index)]
    write_part(rows, output, "1")
    settings = {
        "weights": "demo",
        "variant": "3step",
        "steps": 4,
        "review": asdict(Review()),
        "limits": asdict(Limits()),
    }
    digests = {"settings_digest": "s" * 64, "weights_digest": "w" * 64}
    attempt = {"attempt": "1", "started_at": "2026-01-01T00:00:00+00:00", "settings": settings, **digests}
    storage.write_bytes(storage.join(output, "run.json"), json.dumps({"attempts": [attempt]}).encode())
    return output


def finished(row: dict[str, Any], data: bytes, output: str, minute: int, photos: Photos) -> dict[str, Any]:
    """The manifest row of a member; for a photo with faces, the restored file is written too."""
    known = {name: row[name] for name in ("photo_id", "source", "member", "bytes")}
    known |= {"sha256": hashlib.sha256(data).hexdigest(), "page": 1, "pages": 1, "minute": minute}
    if row["member"] == "notes.txt":
        return result_row(status="skipped", error_type="not_an_image", error="the content is no image", **known)
    if row["member"] == "box2/broken.jpg":
        return result_row(status="failed", error_type="truncated", error="the file ends too early", **known)
    if row["member"] not in photos:
        return result_row(status="no_face", width=300, height=200, bit_depth=8, format="jpeg", **known)
    pixels, where = photos[row["member"]]
    uri = storage.join(output, "restored", "scans.tar", f"{row['member']}.png")
    restored = encoded(cv2.medianBlur(pixels, 7).astype(np.uint8), ".png")
    storage.write_bytes(uri, restored)
    faces = [described(n, *place, flagged=len(where) == 2 and n == 1) for n, place in enumerate(where)]
    known |= {"restored_uri": uri, "restored_sha256": hashlib.sha256(restored).hexdigest(), "seconds_restore": 2.0}
    if len(where) == 2:
        known["warnings"] = [{"kind": "not_carried", "words": WARNED}]
    known |= {"width": pixels.shape[1], "height": pixels.shape[0], "bit_depth": 8, "format": "jpeg", "mask": "ellipse"}
    return result_row(status="restored", faces=faces, face_count=len(faces), **known)


def described(n: int, x: float, y: float, eyes: float, flagged: bool) -> dict[str, Any]:
    middle = TEMPLATE.mean(axis=0)
    scale = eyes / np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])
    points = (TEMPLATE - middle) * scale + (x, y)
    measures = {"psnr": 16.0 if flagged else 24.0 + eyes / 10, "ssim": 0.8, "delta_e": 2.0 + n, "eye_distance": eyes}
    measures |= {"score": 0.9, "sharpness_before": 10 * eyes, "sharpness_after": 4 * eyes}
    box = [x - 1.4 * eyes, y - 1.6 * eyes, x + 1.4 * eyes, y + 1.4 * eyes]
    reason = FLAGGED if flagged else None
    return face(n, box=box, landmarks=points.tolist(), needs_review=flagged, review_reason=reason, **measures)


def encoded(pixels: Pixels, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes())
