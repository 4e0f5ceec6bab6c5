"""`interlcm report`: a static gallery for the review of a run."""

from shlex import quote
from typing import Annotated, Literal

import typer

from jobs.counted import counted
from jobs.options import Run
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.report.build import CopyProgress, copy_pictures, write_report
from pipeline.report.data import Pictures
from pipeline.report.summary import Price
from pipeline.storage.output import Output


def report(
    output: Run,
    pictures: Annotated[
        Literal["all", "review", "none"],
        typer.Option(help="Which photos get pictures: all, those with a face that needs review, or none."),
    ] = "all",
    max_side: Annotated[
        int, typer.Option(metavar="PX", min=256, max=65536, help="Reduce larger photos to this size, px.")
    ] = 65536,
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of one hour of all machines, to show the cost per 1,000 photos."),
    ] = None,
    currency: Annotated[str, typer.Option(help="Currency of the price.")] = "EUR",
) -> None:
    """Write OUTPUT/report/: summary, plots, and a gallery with before and after of every photo and face.

    The report is a folder of static files: open index.html from a disk, a web server or a bucket. Pictures are copies
    in formats that every browser shows; existing copies are kept.

    \b
    Examples:
      interlcm report restored
      interlcm report s3://archive/restored --pictures review --max-side 4096
      interlcm report restored --price-per-hour 2.50 --currency EUR
    """
    Output(output).check_run()

    if cluster.joined():
        cluster.connect()
    failed = copy(output, pictures, max_side)
    price = None if price_per_hour is None else Price(price_per_hour, currency)
    written = write_report(output, Pictures(pictures, max_side, failed), price)
    faces = f"{counted(written.to_review, 'face')} to review"
    print(f"report: {written.page} ({counted(written.photos, 'file')}, {faces})")
    if written.removed:
        print(f"removed: former pictures of {counted(written.removed, 'photo')}")
    where = "" if storage.is_local(output) else ", at the bucket's web address"
    print(f"open it in a browser{where}; export decisions there, put the file into")
    print(f"  {output.rstrip('/')}/decisions/, then: interlcm decide {quote(output)} --dry-run")


def copy(output: str, pictures: str, max_side: int) -> dict[str, str]:
    """Make the pictures and print progress; returns the photos without pictures, each with the reason."""
    progress, shown = CopyProgress(0), -1
    for progress in copy_pictures(output, pictures, max_side) if pictures != "none" else ():
        if progress.done * 20 // max(progress.total, 1) != shown:  # at most 21 lines
            shown = progress.done * 20 // max(progress.total, 1)
            share = f"{progress.done}/{counted(progress.total, 'photo')}"
            print(f"pictures: {share}, {progress.bytes / 1e6:.1f} MB written", flush=True)
    if progress.failed:
        reason = next(iter(progress.failed.values()))
        print(f"without pictures: {counted(len(progress.failed), 'photo')}; the first reason: {reason}")
    return progress.failed
