"""What the pictures of a large scan cost the report, in tiles and as one picture each: python -m tests.scale.tile_cost

Files, bytes and CPU seconds (the best of three) of both sides together, a scan with grain and its result without. This
is not a test.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.report.display_copies import PHOTO_QUALITY, WHOLE_SIDE, deep, fitted, jpeg
from tests.scale.late_tiles import scan
from tests.support.pictures import Pixels

SIZES = ((6000, 4500), (8192, 6144), (12000, 9000))


def in_tiles(sides: dict[str, Pixels]) -> list[bytes]:
    reduced = [jpeg(fitted(pixels, WHOLE_SIDE), PHOTO_QUALITY) for pixels in sides.values()]
    return [*deep(sides).values(), *reduced]


def as_one_each(sides: dict[str, Pixels]) -> list[bytes]:
    return [jpeg(pixels, PHOTO_QUALITY) for pixels in sides.values()]


def measured(make: Callable[[dict[str, Pixels]], list[bytes]], sides: dict[str, Pixels]) -> str:
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        files = make(sides)
        seconds.append(time.process_time() - begun)
    return f"{len(files)} files, {sum(map(len, files)) / 1e6:.1f} MB, {min(seconds):.1f} s"


def main() -> None:
    for width, height in SIZES:
        sides = {"before": scan(width, height), "after": scan(width, height, 0.0)}
        print(f"{width} x {height}: in tiles {measured(in_tiles, sides)}; as one each {measured(as_one_each, sides)}")


if __name__ == "__main__":
    main()
