"""Measure a report on very many photos in a browser: python -m tests.scale.report_scale FOLDER [PHOTOS]

Makes a run up, writes its report without pictures, and opens it from the disk in a headless Chromium. Prints the time
that writing took, the largest file, and for each view what it loaded and the first contentful paint. FOLDER is left.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from tests.support import many_photos
from tests.support.browser import Page, start_browser

VIEWS = {
    "overview": ("#/", "document.querySelectorAll('.plot').length > 4"),
    "gallery": ("#/gallery?status=any", "Gallery.rows.length > 0 && !!document.querySelector('.card')"),
    "worst first": (
        "#/gallery?status=restored&sort=psnr",
        "Gallery.rows.length > 0 && !!document.querySelector('.card')",
    ),
}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def write(output: str, photos: int) -> Path:
    """The run and the folder of its report."""
    many_photos.write_run(output, photos)
    write_report(output, Pictures("none", 4096, {}))
    return Path(output, "report")


def loaded(page: Page, address: str, shown: str) -> tuple[int, int]:
    """Open a view and wait until it is complete; returns the number of files it loaded, and their bytes."""
    page.asked()
    page.open(address)
    page.until(shown)
    files = {Path(unquote(urlparse(url).path)) for url in page.asked() if url.startswith("file:")}
    return len(files), sum(file.stat().st_size for file in files)


def main(folder: str, photos: int = 100_000) -> None:
    begun = time.perf_counter()
    report = write(folder, photos)
    largest = max(file.stat().st_size for file in report.rglob("*") if file.is_file())
    print(f"{photos:,} photos: written in {time.perf_counter() - begun:.0f} s, largest file {largest / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as scratch:
        driver = start_browser(Path(scratch, "profile"), Path(scratch))
        try:
            page = Page(driver, report, Path(scratch))
            for name, (address, shown) in VIEWS.items():
                count, size = loaded(page, address, shown)
                print(f"{name}: first contentful paint {page.run(PAINT):.0f} ms, {count} files, {size / 1e6:.2f} MB")
        finally:
            driver.quit()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
