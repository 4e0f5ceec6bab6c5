"""`interlcm manifest`: care of the table of results."""

import typer

from jobs.options import Run

app = typer.Typer(
    name="manifest",
    help="Keep the manifest of a run in shape.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Keep the manifest of a run in shape."""


@app.command()
def compact(output: Run) -> None:
    """Merge the small files of a manifest into few large ones, sorted by source and member.

    A run does so by itself every few thousand photos and in the end; one that was killed may have left many. No row is
    lost, older ones included, and nothing has to stop: it may be killed or started twice, and a run may go on writing.
    Rows of an older version are rewritten in the newest.

    \b
    Examples:
      interlcm manifest compact restored
      interlcm manifest compact s3://archive/restored
    """
    from pipeline.manifest import compaction
    from pipeline.storage.output import Output

    Output(output).check_run()
    done = compaction.compact(output)
    written = f"{done.rows} rows, {done.bytes / 1e6:.1f} MB written"
    print(f"manifest: {done.parts_before} files, now {done.parts_after}; {written}")
