"""`interlcm benchmark`: the cost of the parts of a run on this machine."""

import typer

from jobs.benchmark.alternatives import alternatives
from jobs.benchmark.detect import detect
from jobs.benchmark.growth import growth
from jobs.benchmark.index import index
from jobs.benchmark.memory import memory
from jobs.benchmark.model import model
from jobs.benchmark.pipeline import pipeline
from jobs.benchmark.query import query

app = typer.Typer(
    name="benchmark",
    help="Measure the parts of a run on this machine; prints tables and writes JSON.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Measure the parts of a run on this machine; prints tables and writes JSON."""


for command in (model, detect, pipeline, memory, growth, index, query, alternatives):
    app.command()(command)
