"""`interlcm decide`: the output follows the decisions of curators."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.lines import Lines
from jobs.options import Actors, Certificate, Engine, GpusPerActor, Run
from jobs.plan import actor_range, plan, ray_from
from jobs.status import equation
from pipeline import storage
from pipeline.manifest.compaction import compact_if_many
from pipeline.run import lease
from pipeline.run.decide import jobs, put_right, settle
from pipeline.run.lease import Lease
from pipeline.run.prepare import RunError, with_dtype
from pipeline.run.status import count_run
from pipeline.run.verdicts import IDLE, Judged, Shown, differs, judged, strength, without_effect
from pipeline.storage.output import Output

WHICH = f"SELECT decisions.*, status FROM decisions LEFT JOIN photos USING (photo_id) WHERE {IDLE}"

MARKS = {"accept": "accepted", "reject": "rejected"}


def decide(
    output: Run,
    faces: Annotated[
        Shown,
        typer.Option(
            help="Faces that the output shows. all: those that nobody rejected. reviewed: of these, a face that needs "
            "review only once it is accepted. accepted: only faces that are accepted, by themselves or with their "
            "photo. In place of the others the photo stays as it was."
        ),
    ] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    c2pa_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Private key of a signed run, for photos restored again.")
    ] = None,
    c2pa_cert: Certificate = None,
    actors: Actors = "",
    engine: Annotated[
        Engine, typer.Option(help="Restore again in this process (here) or on Ray; auto: as interlcm restore.")
    ] = "auto",
    gpus_per_actor: GpusPerActor = None,
) -> None:
    """Make the output follow the decisions of curators: withdraw, restore again, mark.

    Decisions are read from OUTPUT/decisions/. A rejected photo is set aside: its restored file goes to
    OUTPUT/withdrawn/, its status is withdrawn. A photo with a rejected face, or with a strength that a reviewer chose,
    is restored again with the settings and weights of its run; a rejected face has strength 0, which leaves the photo's
    own pixels. Rows say which decision they follow. Withdraw a decision, and the next call undoes what it did. A second
    call finds nothing to do.

    Exit code 1 if a photo could not be restored again.

    \b
    Examples:
      interlcm decide restored --dry-run
      interlcm decide restored
      interlcm decide s3://archive/restored --faces accepted --actors 4
    """
    if (c2pa_key is None) != (c2pa_cert is None):
        raise typer.BadParameter("--c2pa-key and --c2pa-cert go together: give both")
    keys = (c2pa_key, c2pa_cert) if c2pa_key and c2pa_cert else None
    bounds, place = actor_range(actors), storage.canonical(output)
    Output(place).check_run()
    if dry_run:
        tell(judged(place, faces), output)
        return
    with lease.held(place) as mine:
        compact_if_many(place, whole=False)  # the manifest is asked several times
        put_right(place)
        todo = judged(place, faces)
        tell(todo, output)
        for _ in settle(place, todo):
            mine.check()
        if any(one.changes or one.moves for one in todo):
            restore_again(place, faces, mine, keys, bounds, engine, gpus_per_actor)
    print(equation(count_run(place).counts))


def tell(found: Sequence[Judged], output: str) -> None:
    """Print what is to be done, a line for each photo."""
    todo = [one for one in found if one.open]
    for one in todo:
        page = f", page {one.row['page']}" if one.row["pages"] > 1 else ""
        print(printable(f"{one.row['member']}{page}: {words_of(one)}"))
    if not todo:
        print(f"{output}: nothing to do; {counted(len(found), 'photo')} with decisions")
    idle = without_effect(output)
    if idle:
        why = "the photo was restored again since, no face of it was restored, or the run has no such photo or face"
        asks = f'interlcm query {quote(output)} "{WHICH}"'
        print(printable(f"note: {counted(idle, 'decision')} without effect ({why}): {asks}"), file=sys.stderr)
    elif not found and not storage.exists(Output(output).decisions):
        print(f"note: no folder {Output(output).decisions}; put exports of the report there", file=sys.stderr)


def words_of(one: Judged) -> str:
    """What is to be done with a photo."""
    steps = []
    if one.moves:
        steps.append("withdraw" if one.verdict.withdrawn else "bring back")
    if one.changes:
        steps.append(f"restore again, {strengths_in_words(one)}")
    if not steps:
        steps.append(f"mark as {MARKS.get(one.verdict.reviewed_as or '', 'reviewed')}")
    return " and ".join(steps) + (f" ({one.verdict.reviewed_by})" if one.verdict.reviewed_by else "")


def strengths_in_words(one: Judged) -> str:
    """The strength of all faces if it is one, else those that change, as the manifest names them."""
    new = [face.strength for face in one.verdict.faces]
    if len(set(new)) == 1:
        return f"strength {new[0]:.2g}"
    changed: dict[float, list[int]] = {}
    for index, face in enumerate(one.row["faces"]):
        if differs(strength(face), new[index]):
            changed.setdefault(new[index], []).append(index)
    return "; ".join(f"face_index {in_ranges(faces)}: strength {share:.2g}" for share, faces in changed.items())


def in_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, such as "0, 2 to 7, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def restore_again(
    output: str,
    faces: Shown,
    mine: Lease,
    keys: tuple[Path, Path] | None,
    actors: tuple[int, int],
    engine: Engine,
    gpus_per_actor: float | None,
) -> None:
    """Restore photos whose faces change, and those whose set-aside file is gone. Raises RunError if one fails."""
    from jobs.progress import show
    from jobs.run import signing_of
    from pipeline.run import attempt

    found = judged(output, faces)
    again = [one for one in found if one.changes or one.moves]
    if not again:
        return
    resources = plan(actors, gpus_per_actor, None)
    photos, _ = ray_from(engine, resources)
    for job, where in jobs(output, found, again, signing_of(keys)):
        show(attempt.restore(with_dtype(job, resources), resources, mine, where, photos), Lines())
    ids = [one.row["photo_id"] for one in again]
    left = {*ids} - {one.row["photo_id"] for one in judged(output, faces) if not one.open}
    if left:
        words = f"interlcm query {quote(output)} --failures says why; restore them with --where \"status = 'failed'\""
        raise RunError(f"{output}: not restored again: {counted(len(left), 'photo')}; {words}")
