"""`interlcm manifest`: maintenance of the table of results."""

import typer

from jobs.counted import counted
from jobs.lazy import WholeGroup
from jobs.options import Run
from pipeline.manifest import compaction
from pipeline.run import status
from pipeline.storage.output import Output

app = typer.Typer(
    name="manifest",
    cls=WholeGroup,
    help="Maintain the manifest of a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def group() -> None:
    """Maintain the manifest of a run."""


@app.command()
def compact(output: Run) -> None:
    """Merge the small files of a manifest into a few large ones, sorted by source and member.

    A run does this every few thousand photos and at its end; a killed run may leave many small files. All rows are
    kept, even older ones of the same photo. It is safe to kill this command, to start it twice, and to run it while a
    run writes. Rows of an older version are rewritten in the newest version. The run is counted, too, so that
    interlcm status answers at once as long as nothing changes.

    \b
    Examples:
      interlcm manifest compact restored
      interlcm manifest compact s3://archive/restored
    """
    Output(output).check_run()
    done = compaction.compact(output)
    status.count_run(output)
    written = f"{counted(done.rows, 'row')}, {done.bytes / 1e6:.1f} MB written"
    print(f"manifest: {counted(done.parts_before, 'file')}, now {done.parts_after}; {written}")
