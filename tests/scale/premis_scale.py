"""How long the PREMIS files of very many photos take, and how much memory:

python -m tests.scale.premis_scale FOLDER [PHOTOS]

The run has no pictures, only index and manifest; it is made in FOLDER if it is not there. Memory grows to what DuckDB
may use for its sort, and not with the photos.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from pipeline.export.premis import write_files
from pipeline.manifest.compaction import compact
from tests.support.many_photos import write_run

PHOTOS = 300_000


def main() -> None:
    folder, photos = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else PHOTOS
    output = str(folder / f"run-{photos}")
    if not Path(output).exists():
        # In a process of its own, whose memory does not count here.
        code = f"from tests.scale.premis_scale import make; make({output!r}, {photos})"
        subprocess.run([sys.executable, "-c", code], check=True)
    began, busy = time.monotonic(), time.process_time()
    recorded = sum(write_files(output, str(folder / "premis")))
    sizes = [file.stat().st_size for file in (folder / "premis").iterdir()]
    seconds = f"{time.monotonic() - began:.0f} s, {time.process_time() - busy:.0f} s of one core"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{recorded} photos in {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB, the largest {max(sizes) / 1e6:.1f} MB")
    print(f"{seconds}, {peak:.0f} MiB at most")


def make(output: str, photos: int) -> None:
    write_run(output, photos)
    compact(output)


if __name__ == "__main__":
    main()
