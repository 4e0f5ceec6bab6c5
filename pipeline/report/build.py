"""The report of a run: a folder of static files for review, opened from a disk, a web server or a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.report import pictures as report_pictures
from pipeline.report.data import Pictures, write_photos
from pipeline.report.decided import write_decisions
from pipeline.report.files import DataFiles
from pipeline.report.summary import Price, summary
from pipeline.run.attempts import attempts
from pipeline.storage import client as storage_client
from pipeline.storage.output import Output

SITE = Path(__file__).parent / "site"


@dataclass
class CopyProgress:
    """Progress of the display copies: all photos, photos done (including earlier runs), bytes written."""

    total: int
    done: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # photo_id -> why it has no pictures


@dataclass(frozen=True)
class Written:
    """Counts of a written report. page: URI of its index.html; removed: photos whose former pictures went."""

    page: str
    photos: int
    to_review: int
    removed: int


def copy_pictures(output: str, choice: str, max_side: int) -> Iterator[CopyProgress]:
    """Make the missing display copies; yields after each batch of photos.

    choice: a key of `report_pictures.CHOICES`. max_side: px; larger photos are reduced to it.
    """
    report = Output(storage.canonical(output)).report
    rows = report_pictures.wanted(output, choice)
    there = report_pictures.existing(report)
    open_rows = [report_pictures.row_folder(row, max_side) not in there for row in ids(rows)]
    progress = CopyProgress(total=rows.num_rows, done=rows.num_rows - sum(open_rows))
    yield progress
    if not any(open_rows):
        return
    task = report_pictures.Task(
        storage.canonical(output), max_side, limits(output), Environment(storage_client.environment())
    )
    for made in report_pictures.make(rows.filter(open_rows), task):
        for row in made.to_pylist():
            progress.done += 1
            progress.bytes += row["bytes"]
            if row["error"] is not None:
                progress.failed[row["photo_id"]] = row["error"]
        yield progress


def ids(rows: Any) -> list[dict[str, Any]]:
    return list(rows.select(["photo_id", "restored_sha256", "sha256"]).to_pylist())


def limits(output: str) -> Limits:
    """The run's own limits, so that the report can decode every photo that the run decoded."""
    tried = attempts(output)
    return Limits(**tried[-1]["settings"].get("limits", {})) if tried else Limits()


def write_report(output: str, pictures: Pictures, price: Price | None = None) -> Written:
    """Write report/ without the pictures, index.html last, and remove pictures that no report shows any more.

    With the choice "none" pictures stay, whatever they are of. Raises StorageError if there is no run at OUTPUT.
    """
    place = storage.canonical(output)
    report = Output(place).report
    made_at = datetime.now(UTC)
    files = DataFiles(report)
    about, columns = write_photos(output, files, pictures)
    about |= write_decisions(output, files) | summary(output, columns, price)
    about |= {"run": run_key(place), "output": place, "made_at": made_at.isoformat(timespec="seconds")}
    about["version"] = made_at.strftime("%Y%m%d%H%M%S")
    files.write("summary", about)
    write_site(report, about["version"])
    files.remove_others()
    removed = 0 if pictures.choice == "none" else report_pictures.remove_others(place, pictures.max_side)
    return Written(storage.join(report, "index.html"), about["photos"], about["to_review"], removed)


def run_key(place: str) -> str:
    """The key of a browser's decisions: the same for all reports of a run, wherever they are opened."""
    tried = attempts(place)
    name = tried[0]["attempt"] if tried else place
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def write_site(report: str, version: str) -> None:
    """Copy the page's own files. A version in every address keeps a browser from mixing two reports."""
    files = {file.name: file.read_bytes() for file in sorted(SITE.iterdir(), key=lambda file: file.suffix == ".html")}
    files["index.html"] = files["index.html"].replace(b"?v=0", f"?v={version}".encode())
    storage.publish_all(report, files)
