"""`interlcm export`: a finished run for other systems: a BagIt bag, PREMIS, IIIF, tables."""

import re
import sys
from shlex import quote
from typing import Annotated, Literal

import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.lazy import WholeGroup
from jobs.options import Run
from jobs.steps import last_of
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.export import bag as export_bag
from pipeline.export import iiif_files as export_iiif
from pipeline.export import premis as export_premis
from pipeline.export import tables as export_tables
from pipeline.export.photos import Counts, ExportError
from pipeline.run.status import count_run
from pipeline.run.verdicts import judged
from pipeline.storage.output import Output

app = typer.Typer(
    name="export",
    cls=WholeGroup,
    help="Export a finished run for other systems: a BagIt bag, PREMIS, IIIF, tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
FIXED = ("payload-oxum", "bag-software-agent")  # of bag-info.txt: not for a user to say

To = Annotated[str, typer.Option(metavar="URI", help="Folder or URI to write to.")]


@app.callback()
def group() -> None:
    """Export a finished run for other systems: a BagIt bag, PREMIS, IIIF, tables."""


def element(text: str) -> tuple[str, str]:
    """NAME=VALUE for a line of bag-info.txt."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value) or ":" in name or not text.isprintable():
        raise typer.BadParameter(f"--info {text}: give NAME=VALUE, such as Source-Organization='National Library'")
    if name.casefold() in FIXED:
        raise typer.BadParameter(f"--info {name}: the export itself says this")
    return name, value


@app.command()
def bag(
    output: Run,
    to: To,
    info: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A line for bag-info.txt, such as Source-Organization='My Library'."),
    ] = None,
    archivematica: Annotated[
        bool, typer.Option("--archivematica", help="Add data/metadata/metadata.csv, which Archivematica reads.")
    ] = False,
) -> None:
    """Write a BagIt bag (RFC 8493): restored photos, manifest, index, decisions and PREMIS, with their checksums.

    Every restored file is compared with the manifest on its way. Photos without a restored file, and those that a
    curator rejected, are left out. A killed export continues when the same command is started again.

    \b
    Examples:
      interlcm export bag restored --to scans-bag
      interlcm export bag s3://archive/restored --to s3://deposit/scans --info Source-Organization="National Library"
    """
    elements = [element(one) for one in info or []]
    begin(output)
    steps = export_bag.write_bag(output, to, elements, archivematica)
    done = last_of(steps, lambda now: f"bag: {now.photos}/{counted(now.counts.kept, 'photo')}")
    tell(done.counts)
    if done.percent_names:
        words = "RFC 8493 spells it %25, which bagit-python 1.9 does not read: such a bag fails there, and in no other"
        print(f"note: {counted(done.percent_names, 'name')} with a percent sign; {words}", file=sys.stderr)
    size, files = done.payload
    print(printable(f"bag: {to} ({counted(done.photos, 'photo')}, {counted(files, 'file')}, {size / 1e6:.1f} MB)"))


@app.command()
def premis(output: Run, to: To) -> None:
    """Write what was done to each photo as PREMIS 3 events, in XML files of up to 500 photos.

    \b
    Examples:
      interlcm export premis restored --to premis
    """
    begin(output)
    sizes = list(export_premis.write_files(output, to))
    print(printable(f"premis: {to} ({counted(sum(sizes), 'photo')} in {counted(len(sizes), 'file')})"))


def web_address(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s?#]+", url):
        raise typer.BadParameter(f"--base-url {url}: give the address of the folder, such as https://example.org/iiif")
    return url


@app.command()
def iiif(
    output: Run,
    to: To,
    base_url: Annotated[
        str, typer.Option(metavar="URL", parser=web_address, help="Address at which a web server gives out the folder.")
    ],
) -> None:
    """Write static IIIF files: a manifest for each photo, restored and source as a choice, tiles, and collections.

    The folder needs a web server and no image server. The sources are read again. Tiles that are there are kept.

    Exit code 1 if a photo cannot be shown, such as one whose source is gone.

    \b
    Examples:
      interlcm export iiif restored --to iiif --base-url https://images.example.org/iiif
    """
    begin(output)
    steps = export_iiif.write_iiif(output, to, base_url)
    shown = last_of(steps, lambda now: f"iiif: {now.done}/{counted(now.counts.kept, 'photo')}")
    tell(shown.counts)
    print(printable(f"iiif: {shown.collection} ({counted(shown.done, 'photo')})"))
    if shown.failed:
        words = f"not shown: {counted(shown.failed, 'photo')}; the first: {shown.reason}; start the same command again"
        raise ExportError(printable(words))


@app.command()
def csv(
    output: Run,
    to: To,
    system: Annotated[
        Literal["islandora", "archivematica", "omeka"], typer.Option("--for", help="The system that reads the table.")
    ],
    files_at: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="What stands before the paths of the files: a folder or a URL. Default: nothing for Islandora, "
            "objects for Archivematica; Omeka needs a URL.",
        ),
    ] = None,
) -> None:
    """Write a table for ingest, one row for each restored photo: for Islandora Workbench, Archivematica or Omeka S.

    \b
    Examples:
      interlcm export csv restored --for islandora --to restored
      interlcm export csv restored --for archivematica --to transfer/metadata
      interlcm export csv restored --for omeka --to tables --files-at https://images.example.org/restored
    """
    if system == "omeka" and not re.match(r"https?://", files_at or ""):
        raise typer.BadParameter("--files-at: Omeka fetches the files; give the URL at which it finds OUTPUT")
    base = {"archivematica": "objects"}.get(system, "") if files_at is None else files_at.rstrip("/")
    begin(output)
    for counts in export_tables.write_table(output, to, system, f"{base}/" if base else ""):
        tell(counts)
        where = storage.join(to, export_tables.FILES[system])
        print(printable(f"csv: {where} ({counted(counts.kept, 'photo')})"))


@app.command()
def iceberg(output: Run, to: To) -> None:
    """Register the manifest as an Iceberg table: metadata alone, which names the manifest's own files.

    The table has the newest row of each photo. Small files of the manifest are merged first. Start the command again
    when the run has gone on: the table gets a new snapshot. Needs the extra iceberg.

    \b
    Examples:
      interlcm export iceberg restored --to tables/photos
      interlcm export iceberg s3://archive/restored --to s3://archive/tables/photos
    """
    from pipeline.export.iceberg import write_table  # pyiceberg is for this export alone

    done = write_table(output, to)
    if done.merged:
        count_run(storage.canonical(output))
    if done.waiting:
        words = f"{counted(done.waiting, 'file')} that a run has written since; start this again when it has ended"
        print(f"not in the table: {words}")
    files = f"{counted(done.files, 'file')}, {done.added} new, {done.removed} gone"
    print(printable(f"iceberg: {done.metadata} ({counted(done.photos, 'photo')} in {files})"))


def tell(counts: Counts) -> None:
    """Say what is left out."""
    if left_out := counts.words():
        print(f"left out: {left_out}")


def begin(output: str) -> None:
    """StorageError if there is no run; joins a cluster if this process belongs to one. Says if decisions wait."""
    Output(output).check_run()
    place = storage.canonical(output)
    decided = storage.exists(Output(place).decisions)
    if waiting := sum(one.open for one in judged(place)) if decided else 0:
        words = f"with decisions that the output does not follow yet: interlcm decide {quote(output)}"
        print(printable(f"note: {counted(waiting, 'photo')} {words}"), file=sys.stderr)
    if cluster.joined():
        cluster.connect()
