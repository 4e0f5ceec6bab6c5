"""What a terminal shows of a command, each line with the second at which it came: `python -m tests.scale.first_minute`.

Arguments are those of `interlcm`; without any, a demo in a temporary folder.
"""

from __future__ import annotations

import subprocess
import sys
import time
from tempfile import TemporaryDirectory


def main(words: list[str]) -> int:
    print(f"$ interlcm {' '.join(words)}")
    begun = time.monotonic()
    command = [sys.executable, "-u", "-m", "jobs", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as shown:
        assert shown.stdout is not None
        for line in shown.stdout:
            print(f"{time.monotonic() - begun:6.1f}  {line}", end="", flush=True)
    print(f"{time.monotonic() - begun:6.1f}  (ended)")
    return shown.returncode


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1:]))
    with TemporaryDirectory() as folder:
        sys.exit(main(["demo", "--output", folder]))
