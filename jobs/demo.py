"""`interlcm demo`: a whole run on a small sample archive."""

import io
import tarfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from jobs import samples
from jobs.query import query
from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.storage.errors import storage_errors


def demo(
    output: Annotated[Path, typer.Option(help="Folder to write the sample archive and the run to.")] = Path("demo"),
) -> None:
    """Restore a small sample archive with the built-in demo weights and show the result.

    \b
    Example:
      interlcm demo --output demo
    """
    archive, folder = output / "sample.tar", str(output / "run")
    with storage_errors(str(output), writing=True):
        output.mkdir(parents=True, exist_ok=True)
    print(f"sample archive: {archive}", flush=True)
    if not archive.exists():
        storage.write_bytes(str(archive), sample_archive())
    run(Request([str(archive)], folder, Settings()))
    query(folder, "SELECT member, status, width, height, face_count, error_type FROM photos ORDER BY member")
    measures = ("eye_distance", "psnr", "delta_e", "sharpness_before", "sharpness_after")
    columns = ", ".join(f"round({name}::DOUBLE, 1) AS {name}" for name in measures)
    query(folder, f"SELECT member, face_index, {columns} FROM faces ORDER BY member, face_index")
    print(f"restored photos: {folder}/restored/{archive.name}/")


def sample_archive() -> bytes:
    """A tar like a box of scans: two portraits degraded like old prints, a picture without a face, a note."""
    import skimage.data
    import torch

    from interlcm.degradation import Degradation, degrade
    from interlcm.pixels import to_pixels, to_tensor

    def scan(pixels: np.ndarray) -> Image.Image:
        lq = degrade(to_tensor(pixels)[None], Degradation(), torch.Generator().manual_seed(0))
        return Image.fromarray(to_pixels(lq[0]))

    astronaut = skimage.data.astronaut()
    members = {
        "box1/grace_hopper.jpg": jpeg(scan(samples.grace_hopper())),
        "box1/astronaut.jpg": jpeg(scan(astronaut)),
        "box2/astronaut_grey.jpg": jpeg(scan(astronaut).convert("L")),
        "box2/coffee.jpg": jpeg(scan(skimage.data.coffee())),
        "notes.txt": b"Portraits: Grace Hopper (U.S. Navy), Eileen Collins (NASA). Both in the public domain.\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def jpeg(image: object) -> bytes:
    assert isinstance(image, Image.Image)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
