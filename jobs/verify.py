"""`interlcm verify`: whether restored files still match the manifest, and whether results are reproducible."""

from collections.abc import Iterator
from typing import Annotated

import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.options import Run
from jobs.steps import last_of
from pipeline.cluster import connect as cluster
from pipeline.storage.output import Output
from pipeline.verify import files as verify_files
from pipeline.verify.files import Verified


def verify(
    output: Run,
    replay: Annotated[
        int, typer.Option(metavar="N", min=0, help="Also restore N random photos again and compare.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed for choosing the photos of --replay.")] = 0,
) -> None:
    """Read all restored files of a run and compare them with the manifest.

    Exit code 1 if a file is missing or differs, or if a photo restored again differs. A file below restored/
    or withdrawn/ that no row names is only a note: a killed worker may leave one.

    \b
    Examples:
      interlcm verify restored
      interlcm verify s3://archive/restored --replay 20
    """
    Output(output).check_run()

    if cluster.joined():
        cluster.connect()
    found = show(verify_files.verify(output))
    if replay:
        show_again(output, replay, seed, found)
    found.check(output)
    print(f"{output}: all files match the manifest")


def show(steps: Iterator[Verified]) -> Verified:
    """Print progress, and the whole result at the end."""
    found = last_of(
        steps,
        lambda now: f"verify: {now.done}/{counted(now.total, 'file')}, {counted(len(now.problems), 'problem')}",
    )
    counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("missing", "differs", "unreadable"))
    good = found.total - len(found.problems)
    print(f"restored files: {found.total} in the manifest, {good} unchanged, {counts}")
    for problem in found.problems:
        print(printable(f"{problem.kind}: {problem.words or problem.listed.uri}"))
    for uri in found.unlisted:
        print(printable(f"note: a file that no row names: {uri}"))
    if found.unlisted:
        print("note: such files are of killed workers or earlier results, and no part of the run; they may be removed")
    return found


def show_again(output: str, count: int, seed: int, found: Verified) -> None:
    """Print the outcome of each photo that is restored again. Raises VerifyError if a photo differs."""
    from pipeline.verify import replay as verify_replay

    replays = []
    for one in verify_replay.replay(output, count, seed):
        replays.append(one)
        print(f"replay: {one.outcome}: {one.uri}" + f" ({one.words})" * bool(one.words), flush=True)
    found.check(output)  # first: a changed file explains why its photo differs
    verify_replay.check_same(replays, output)
