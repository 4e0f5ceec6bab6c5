"""`interlcm benchmark`: the cost of the parts of a run on this machine."""

import typer

from jobs.lazy import lazy_group

COMMANDS = {
    "model": (
        "jobs.benchmark.model",
        "Measure what the model's defaults should be here: micro-batch, dtype, memory layout, torch.compile.",
    ),
    "detect": (
        "jobs.benchmark.detect",
        "Compare the available face detectors on portraits that ship with scikit-image and matplotlib.",
    ),
    "pipeline": (
        "jobs.benchmark.pipeline",
        "Restore with stand-ins for the GPUs: models that take a fixed time for each micro-batch and do nothing.",
    ),
    "memory": (
        "jobs.benchmark.memory",
        "Restore many times the capacity of the object store, with stand-ins for the detector and the model.",
    ),
    "growth": (
        "jobs.benchmark.growth",
        "Restore runs of growing size, with stand-ins for the detector and the model; cost should grow in proportion.",
    ),
    "index": (
        "jobs.benchmark.index",
        "Index a zip, a tar and a tar.gz of the same members: members per second, and bytes read.",
    ),
    "query": (
        "jobs.benchmark.query",
        "Time the start of a run and the built-in queries of `interlcm query` on generated runs that are nine "
        "tenths done.",
    ),
    "alternatives": (
        "jobs.benchmark.alternatives",
        "Restore the same pictures with the demo weights: with a plain loop, and with `interlcm restore` on each "
        "engine.",
    ),
}

app = typer.Typer(
    name="benchmark",
    cls=lazy_group(COMMANDS),
    help="Measure the parts of a run on this machine; prints tables and writes JSON.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def group() -> None:
    """Measure the parts of a run on this machine; prints tables and writes JSON."""
