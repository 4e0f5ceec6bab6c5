"""`interlcm benchmark alternatives`: a run compared with a plain loop over the same pictures."""

import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.benchmark.figures import To, publish, workplace
from jobs.demo import sample_archive
from pipeline.benchmark.processes import Watch


def alternatives(
    photos: Annotated[
        int, typer.Option(min=1, help="Number of photos: copies of the demo's portraits, one face each.")
    ] = 40,
    to: To = "",
) -> None:
    """Restore the same pictures with the demo weights: with a plain loop, and with `interlcm restore` on each engine.

    Like published single-image scripts, the loop works in one process: read, detect, align, restore one by one, paste,
    write. It keeps no metadata and no record, isolates nothing and cannot continue. Start-up time is included.

    \b
    Examples:
      interlcm benchmark alternatives
      interlcm benchmark alternatives --photos 400 --to alternatives.json
    """
    with workplace("") as folder:
        source = Path(folder, "photos")
        write_portraits(source, photos)
        loop = [sys.executable, "-m", "pipeline.benchmark.loop", str(source), f"{folder}/loop"]
        rows = [measured("a plain loop", loop, photos)]
        for engine in ("here", "ray"):
            run = [sys.executable, "-m", "jobs", "restore", str(source), "--output", f"{folder}/{engine}"]
            rows.append(measured(f"restore --engine {engine}", [*run, "--engine", engine], photos))
    publish({"The same pictures, start-up included": rows}, to)


def measured(name: str, command: list[str], photos: int) -> dict[str, Any]:
    """The row of one command, counting all processes that it starts."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, Watch(process.pid) as watch:
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    seconds = time.perf_counter() - begun
    cost = {"CPU s/photo": watch.cpu_seconds / photos, "peak memory MB": watch.peak / 1e6}
    return {"what": name, "photos": photos, "s": seconds, "photos/min": 60 * photos / seconds} | cost


def write_portraits(folder: Path, photos: int) -> None:
    """JPEGs of the sample portraits, degraded like old scans, as in the demo."""
    with tarfile.open(fileobj=io.BytesIO(sample_archive())) as tar:
        portraits = [
            file.read() for name in ("grace_hopper", "astronaut") if (file := tar.extractfile(f"box1/{name}.jpg"))
        ]
    folder.mkdir()
    for number in range(photos):
        (folder / f"portrait-{number:05}.jpg").write_bytes(portraits[number % len(portraits)])
