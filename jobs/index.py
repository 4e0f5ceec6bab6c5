"""`interlcm index`: the list of the members to restore."""

from typing import TYPE_CHECKING

from jobs.counted import counted
from jobs.options import Limit, Output, Sources, thresholds
from jobs.plan import RAY_ARCHIVES

if TYPE_CHECKING:
    from pipeline.index.build import IndexSummary


def index(sources: Sources, output: Output, limit: Limit = None) -> None:
    """List the members of archives into OUTPUT/index/, one Parquet file per archive.

    Archives that are already indexed are kept, so more sources can be added later.

    \b
    Examples:
      interlcm index box1.tar box2.zip --output restored
      interlcm index 's3://archive/scans/*.tar' --output s3://archive/restored
    """
    from pipeline import storage
    from pipeline.config.limits import Limits
    from pipeline.index.sources import expand

    limits = thresholds("--limit", Limits(), limit or [])
    found = expand(sources, storage.canonical(output))  # reports a wrong source before the imports below

    from pipeline.cluster import connect as cluster
    from pipeline.index.build import build_index
    from pipeline.run import lease

    if cluster.joined() or len(found) >= RAY_ARCHIVES:
        cluster.connect()
    with lease.held(storage.canonical(output)):
        print(f"index: {in_words(build_index(found, output, limits))}")


def in_words(found: "IndexSummary") -> str:
    counts = (counted(found.archives, "archive"), counted(found.members, "member"), counted(found.photos, "file"))
    errors = f", {counted(found.errors, 'error')}" if found.errors else ""
    return f"{', '.join(counts)}, {found.bytes / 1e6:.1f} MB{errors}"
