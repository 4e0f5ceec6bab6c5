"""Measure a report on very many photos in a browser: python -m tests.scale.report_scale FOLDER [PHOTOS]

Makes a run up, writes its report, and opens it from the disk in a headless Chromium. Prints the time that writing took,
the largest data file; for each view what it loads, the first contentful paint and the first picture; and the time of a
decision, from the key to the next photo on the screen. All photos show the same pictures. FOLDER is left.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlparse

from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from tests.support import many_photos
from tests.support.browser import Page, start_browser

CARD = "Gallery.rows.length > 0 && !!document.querySelector('.card')"
VIEWS = {
    "overview": ("#/", "document.querySelectorAll('.plot').length > 4"),
    "gallery": ("#/gallery?status=any", CARD),
    "worst first": ("#/gallery?status=restored&sort=psnr", CARD),
    "queue": ("#/gallery?decision=open&sort=doubt", CARD),
    "faces": ("#/gallery?show=faces", CARD),
}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
# Time since the address was entered until a card shows its picture, ms.
PICTURE = """new Promise((done) => {
  const seen = () => [...document.querySelectorAll('.card img')].some((image) => image.complete && image.naturalWidth);
  const look = () => (seen() ? done(performance.now()) : requestAnimationFrame(look));
  look();
})"""
# Times of decisions in a row, each until the next photo's picture is decoded and a frame was drawn, ms.
DECISIONS = """(async () => {
  const times = [];
  for (let n = 0; n < arguments[0]; n++) {
    const begun = performance.now();
    const target = Review.photo && byId('review').open ? byId('review') : document.activeElement;
    target.dispatchEvent(new KeyboardEvent('keydown', { key: n % 3 ? 'a' : 'r', bubbles: true }));
    await Gallery.deciding;
    if (byId('review').open && Review.photo.pictures) await Review.compare.after.image.decode();
    await new Promise((drawn) => requestAnimationFrame(drawn));
    times.push(performance.now() - begun);
  }
  return times;
})()"""


def write(output: str, photos: int, pictures: bool) -> Path:
    """The run and the folder of its report."""
    many_photos.write_run(output, photos)
    report = Path(output, "report")
    if pictures:
        many_photos.link_pictures(str(report), 4096)
    write_report(output, Pictures("all" if pictures else "none", 4096, {}))
    return report


def loaded(page: Page, address: str, shown: str) -> tuple[int, int]:
    """Open a view and wait until it is complete; returns the number of data and script files, and their bytes."""
    with page.listening() as asked:
        page.open(address)
        page.until(shown)
    files = {Path(unquote(urlparse(url).path)) for url in asked if url.startswith("file:")}
    files = {file for file in files if file.suffix != ".jpg"}
    return len(files), sum(file.stat().st_size for file in files)


def decisions(page: Page, queue: str, number: int) -> tuple[float, float]:
    """Median and longest time of so many decisions in the queue: in the gallery, or with a photo on show. Seconds."""
    page.open(queue)
    page.until("Gallery.list?.ariaBusy === null && Gallery.rows.length > 0")
    if "/photo/" in queue:
        page.until("byId('review').open")
    else:
        page.cards()
        page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    times = page.run(DECISIONS, number)
    return median(times) / 1000, max(times) / 1000


def main(folder: str, photos: int = 100_000) -> None:
    begun = time.perf_counter()
    report = write(folder, photos, pictures=True)
    largest = max(file.stat().st_size for file in (report / "data").iterdir())
    print(f"{photos:,} photos: written in {time.perf_counter() - begun:.0f} s, largest file {largest / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as scratch:
        driver = start_browser(Path(scratch, "profile"), Path(scratch))
        try:
            page = Page(driver, report, Path(scratch), Path(scratch))
            for name, (address, shown) in VIEWS.items():
                count, size = loaded(page, address, shown)
                picture = f", first picture {page.run(PICTURE):.0f} ms" if name not in ("overview", "faces") else ""
                paint = f"first contentful paint {page.run(PAINT):.0f} ms{picture}"
                print(f"{name}: {paint}; {count} files besides pictures, {size / 1e6:.2f} MB")
            page.run("localStorage.setItem('interlcm:reviewer', 'Ada')")
            for name, address in (("a card", "#/gallery"), ("a photo", "#/photo/0")):
                middle, longest = decisions(page, f"{address}?decision=open&sort=doubt", 50)
                print(f"a decision on {name}: median {middle * 1000:.0f} ms, longest of 50 {longest * 1000:.0f} ms")
        finally:
            driver.quit()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
