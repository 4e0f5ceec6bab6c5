"""`interlcm index`: the list of the members to restore."""

import typer

from jobs.counted import counted
from jobs.lines import Lines
from jobs.meanwhile import meanwhile
from jobs.options import Limit, Output, Sources, ZipNames, thresholds
from jobs.plan import RAY_ARCHIVES
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.limits import Limits
from pipeline.index.build import IndexSummary
from pipeline.index.sources import expand
from pipeline.run import lease
from pipeline.run.rescan import scan


def index(sources: Sources, output: Output, limit: Limit = None, zip_names: ZipNames = "") -> None:
    """List the members of archives into OUTPUT/index/, one Parquet file per archive.

    Archives that are already indexed are kept, so more sources can be added later.

    \b
    Examples:
      interlcm index box1.tar box2.zip --output restored
      interlcm index 's3://archive/scans/*.tar' --output s3://archive/restored
    """
    if not output or not all(sources):
        raise typer.BadParameter("a source or --output is empty; is a variable of the shell unset?")
    limits = thresholds("--limit", Limits(), limit or [])
    with meanwhile(Lines(), "checking"):
        found = expand(sources, storage.canonical(output))
    if cluster.joined() or len(found) >= RAY_ARCHIVES:
        cluster.connect()
    with lease.held(storage.canonical(output)):
        with meanwhile(Lines(), "indexing"):
            summary = scan(found, output, limits, zip_names)
        print(*[f"note: {words}" for words in summary.notes], f"index: {index_line(summary)}", sep="\n")


def index_line(found: IndexSummary) -> str:
    counts = (counted(found.archives, "archive"), counted(found.members, "member"), counted(found.photos, "file"))
    errors = f", {counted(found.errors, 'error')}" if found.errors else ""
    errors += f"; changed since the last time, and pending again: {len(found.changed)}" if found.changed else ""
    errors += f"; no longer in their source, though with a result: {len(found.gone)}" if found.gone else ""
    return f"{', '.join(counts)}, {found.bytes / 1e6:.1f} MB{errors}"
