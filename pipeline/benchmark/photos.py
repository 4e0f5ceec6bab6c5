"""Stand-in photos in tar archives: uncompressed TIFFs of smooth noise, as large as scans and quick to decode."""

from __future__ import annotations

import io
import tarfile

import cv2
import numpy as np
import pyvips

from pipeline import storage

PER_ARCHIVE = 25  # photos; at most 500 MB, because an archive is built in memory


def photo(number: int, size: int) -> bytes:
    """A square RGB TIFF of about `size` bytes, different for each number."""
    side = max(64, round((size / 3) ** 0.5))
    coarse = np.random.default_rng(number).integers(40, 216, (16, 16, 3), np.uint8)
    pixels = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    return bytes(pyvips.Image.new_from_array(pixels).tiffsave_buffer())


def sizes(photos: int, low: int, high: int) -> list[int]:
    """Bytes of each photo, from `low` to `high`, drawn uniformly on a logarithmic scale."""
    draw = np.random.default_rng(photos).uniform(np.log(low), np.log(high), photos)
    return [int(size) for size in np.exp(draw)]


def write_archives(folder: str, photos: int, low: int, high: int) -> list[str]:
    """Write tars of stand-in photos below `folder`; returns their URIs."""
    uris = []
    wanted = sizes(photos, low, high)
    for start in range(0, photos, PER_ARCHIVE):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for number in range(start, min(start + PER_ARCHIVE, photos)):
                data = photo(number, wanted[number])
                entry = tarfile.TarInfo(f"box/scan-{number:06}.tif")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        uris.append(storage.join(folder, f"scans-{start // PER_ARCHIVE:04}.tar"))
        storage.write_bytes(uris[-1], sink.getvalue())
    return uris
