"""`interlcm benchmark index`: how fast archives are indexed."""

from typing import Annotated

import typer

from jobs.benchmark.figures import On, To, publish, workplace
from pipeline.benchmark.index import measure


def index(
    on: On = "",
    members: Annotated[int, typer.Option(min=1, help="Members of each archive.")] = 2000,
    kilobytes: Annotated[int, typer.Option(min=1, help="Size of a member, kB.")] = 100,
    to: To = "",
) -> None:
    """Index a zip, a tar and a tar.gz of the same members: members per second, and bytes read.

    This uses one process and one archive at a time; a run indexes as many archives at once as the cluster has cores.

    \b
    Examples:
      interlcm benchmark index
      interlcm benchmark index --on s3://bucket/benchmark --members 10000 --to index.json
    """
    with workplace(on) as folder:
        rows = list(measure(folder, members, kilobytes * 1000))
    publish({"Index": rows}, to)
