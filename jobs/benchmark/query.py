"""`interlcm benchmark query`: the time to resume a large run and to query it."""

from typing import Annotated

import typer

from jobs.benchmark.figures import Rows, To, numbers, publish, workplace
from jobs.query import QUESTIONS
from pipeline.benchmark.query import measure


def query(
    photos: Annotated[
        str, typer.Option(metavar="N,...", help="Sizes of the generated runs; ten million photos take several GB.")
    ] = "100000,1000000",
    to: To = "",
) -> None:
    """Time the start of a run and the built-in queries of `interlcm query` on generated runs that are nine tenths done.

    For comparison, plain DuckDB runs the same SQL on the same files. It does less, because it does not look for the
    newest row. Each is measured in its own process, without its imports.

    \b
    Examples:
      interlcm benchmark query
      interlcm benchmark query --photos 10000000 --to query.json
    """
    counts = numbers("--photos", photos)
    questions = {name: sql.format(worst=20) for name, sql in QUESTIONS.items()}
    resume: Rows = []
    asked: Rows = []
    for count in counts:
        with workplace("") as folder:
            first, rows = measure(folder, count, questions)
        resume.append(first)
        asked += rows
    publish({"Resume: what remains": resume, "Built-in queries": asked}, to)
