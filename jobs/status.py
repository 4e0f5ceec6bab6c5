"""`interlcm status`: whether a run accounts for every photo, and its progress."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from shlex import quote
from typing import Annotated, Any

import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.options import Run
from jobs.times import in_words, moment
from pipeline import storage
from pipeline.manifest.counts import Counts
from pipeline.manifest.why import why as why_of
from pipeline.run.status import MadeBy, Status, read_status
from pipeline.storage.output import Output

TERMS = ("restored", "no_face", "skipped", "failed", "withdrawn", "removed", "pending")


def status(
    output: Run,
    watch: Annotated[bool, typer.Option("--watch", help="Update the counts until nothing is pending.")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between updates of --watch.")
    ] = 10.0,
    why: Annotated[
        str | None,
        typer.Option(metavar="PHOTO", help="Say what became of one photo: its photo_id, or its member's name."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Count the photos of a run by status; show its rate, what it waits for, and when it will end.

    The command reads only OUTPUT, so it works on any machine, during a run and after it. With --watch the numbers
    change in place on a terminal; elsewhere each update is one line. Ctrl-C ends the command.

    Exit code 1 if the numbers do not add up.

    \b
    Examples:
      interlcm status restored
      interlcm status s3://archive/restored --watch --every 30
      interlcm status restored --why box7/0042.jpg
    """
    if why is not None:
        return say_why(output, why, as_json)
    pace = watched(output, every) if watch else read_status(output)
    if as_json:
        print(json.dumps(numbers(pace)))
    elif not watch or not sys.stdout.isatty():
        print(*lines(output, pace), sep="\n")
    if not pace.counts.adds_up:
        print(f"{output}: the numbers do not add up; index and manifest belong to different runs", file=sys.stderr)
        raise typer.Exit(1)


def say_why(output: str, photo: str, as_json: bool) -> None:
    """Print what became of the photos that `photo` means."""
    found = why_of(output, photo) if photo else []
    if not found:
        raise typer.BadParameter(f"--why {photo}: no such photo in the index; give a photo_id or a member's name")
    for member, rows in found:
        if as_json:
            print(json.dumps({**member, "rows": rows}, default=str, ensure_ascii=False))
        else:
            print(*story(output, member, rows), sep="\n")


def story(output: str, member: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """A photo's newest row, as far as it says why, and a line for each older one."""
    said = [f"{member['photo_id']}  {member['source']}  {member['member']}"]
    if not rows:
        return [*said, "  pending: it has no result yet"]
    shown = set()
    for row in rows:
        page = f"page {row['page']}: " if (row["pages"] or 1) > 1 else ""
        reason = "".join(f": {row[name]}" for name in ("error_type", "error") if row[name])
        place = "".join(f", {name} {row[name]}" for name in ("stage", "node", "attempt") if row[name] is not None)
        newest = row["photo_id"] not in shown
        shown.add(row["photo_id"])
        said.append(f"  {page}{'' if newest else 'before: '}{row['status']}{reason}")
        said.append(f"    {moment(row['finished_at'])}{place}")
        if newest and row["traceback"]:
            said += [f"    | {line}" for line in row["traceback"].splitlines()]
        if newest and row["reviewed_at"]:
            by = f" by {row['reviewed_by']}" if row["reviewed_by"] else ""
            said.append(f"    decided{by}, {moment(row['reviewed_at'])}: {row['reviewed_as'] or 'faces or strength'}")
        if newest:
            said += [f"    warning: {one['kind']}: {one['words']}" for one in row["warnings"] or []]
        if newest and row["restored_uri"]:
            said.append(f"    {Output(storage.canonical(output)).now(row['restored_uri'], member['archive_name'])}")
        if newest and row["status"] == "failed" and row["node"]:
            said.append(f"    log: the lines with {row['photo_id']} in worker-*.err on {row['node']}, if it ran on Ray")
    if rows[0]["status"] == "removed":
        return said  # it does not come back
    again = f"interlcm restore ... --output {quote(output)} --where \"photo_id = '{member['photo_id']}'\""
    return [*said, f"  again: {again}"]


def numbers(pace: Status) -> dict[str, Any]:
    """Counts and pace for programs. seconds_left is null unless a run is under way."""
    left = pace.remaining
    return {
        **asdict(pace.counts),
        "adds_up": pace.counts.adds_up,
        "files_per_minute": pace.photos_per_minute,
        "faces_per_second": pace.faces_per_second,
        "seconds_left": None if left is None else left.total_seconds(),
        "made_by": [asdict(one) for one in pace.made_by],
        "waiting": list(pace.holder.waiting) if pace.holder else [],
        "drivers": list(pace.holder.drivers) if pace.holder else [],
    }


def watched(output: str, every: float) -> Status:
    """Show the status until nothing is pending; returns the last one."""
    if not sys.stdout.isatty():
        for pace in looks(output, every):
            print(progress_line(pace), flush=True)
        return pace
    from rich.live import Live  # for this alone, and slow
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        for pace in looks(output, every):
            live.update(Text("\n".join(lines(output, pace))), refresh=True)
    return pace


def looks(output: str, every: float) -> Iterator[Status]:
    while True:
        pace = read_status(output)
        yield pace
        if not pace.counts.pending and pace.holder is None:  # a run that has begun may still be indexing
            return
        time.sleep(every)


def lines(output: str, pace: Status) -> list[str]:
    """The whole status of a run, and the next step."""
    found = pace.counts
    shown = [equation(found), f"faces restored: {found.faces}"]
    if pace.attempt:
        attempt = pace.attempt
        start = f"attempt {attempt.number}: started {moment(attempt.started_at)}"
        shown.append(f"{start}, weights {attempt.weights}, settings {attempt.settings_digest[:12]}")
    shown += made_by(output, pace.made_by)
    if pace.photos_per_minute:
        at = "" if pace.moving else f", until {moment(pace.last)}" if pace.last else ""
        shown.append(f"rate: {pace.photos_per_minute:.1f} files/min, {pace.faces_per_second:.2f} faces/s{at}")
    shown += failures(output, found)
    for source, photos in found.lost.items():
        again = f"interlcm index {quote(source)} --output {quote(output)}"
        results = counted(photos, "result")
        shown.append(f"not in the index: {source}, with {results}; restore its index file, or run {again}")
    if found.warnings:
        shown.append("warnings: " + ", ".join(f"{count} {kind}" for kind, count in found.warnings.items()))
        shown.append(f"  which: interlcm query {quote(output)} --warnings")
    return [*shown, *next_step(output, pace)]


def made_by(output: str, found: tuple[MadeBy, ...]) -> list[str]:
    """Which settings and weights made the results, one line each, and how to do the others again.

    Nothing if the last attempt made all of them.
    """
    others = [one for one in found if not one.last]
    if not others:
        return []
    shown = []
    for one in found:
        made = f"results of settings {one.settings_digest[:12]}, weights {one.weights_digest[:12]}: {one.results}"
        about = "as in the last attempt" if one.last else ", ".join(one.changed) or "not in run.json"
        shown.append(f"{made} ({about})")
    settings, weights = {one.settings_digest for one in found}, {one.weights_digest for one in found}
    last = next((one for one in found if one.last), None)
    if last is None:
        return shown
    differing = [f"settings_digest <> '{last.settings_digest}'"] * (len(settings) > 1)
    differing += [f"weights_digest <> '{last.weights_digest}'"] * (len(weights) > 1)
    again = f'interlcm restore SOURCE... --output {quote(output)} --where "{" OR ".join(differing)}"'
    return [*shown, f"  to do the others again: {again}"]


def failures(output: str, found: Counts) -> list[str]:
    """The number of failed photos by reason, and the command that lists them."""
    if not found.failures:
        return []
    kinds = ", ".join(f"{count} {error_type}" for error_type, count in found.failures.items())
    return [f"failed: {kinds}", f"  which: interlcm query {quote(output)} --failures"]


def next_step(output: str, pace: Status) -> list[str]:
    if pace.counts.pending:
        if pace.remaining is not None:
            end = moment(pace.now + pace.remaining)
            return [f"pending: about {in_words(pace.remaining)} left, until {end}", *waiting(pace)]
        if pace.holder is not None:
            return [f"pending: {pace.holder} works on it", *waiting(pace)]
        return ["pending: start the same interlcm restore again to continue"]
    return [f"complete; next: interlcm report {quote(output)}"] if pace.counts.adds_up else []


def waiting(pace: Status) -> list[str]:
    """What the run says of its drivers, if there are several, and what it waits for."""
    return [f"  {printable(line)}" for line in (*pace.holder.drivers, *pace.holder.waiting)] if pace.holder else []


def progress_line(pace: Status) -> str:
    """A line for logs."""
    found = pace.counts
    share = f"{found.indexed - found.pending}/{counted(found.indexed, 'file')}"
    done = f"{share}, {counted(found.faces, 'face')}, {found.failed} failed"
    rate = f", {pace.photos_per_minute:.1f} files/min, {pace.faces_per_second:.2f} faces/s" if pace.moving else ""
    left = f", about {in_words(pace.remaining)} left" if pace.remaining else ""
    return f"{moment(pace.now)} {done}{rate}{left}"


def equation(found: Counts) -> str:
    """Two lines: the names, and each number below its name; without withdrawn and removed photos if there are none."""
    terms = [name for name in TERMS if name not in ("withdrawn", "removed") or getattr(found, name)]
    numbers = {name: f"{getattr(found, name):{len(name)}d}" for name in ("indexed", *terms)}
    width = {name: len(number) for name, number in numbers.items()}
    names = " + ".join(name.rjust(width[name]) for name in terms)
    sign = "=" if found.adds_up else "!="
    total = "indexed".rjust(width["indexed"])
    return f"{total} {'='.rjust(len(sign))} {names}\n{numbers['indexed']} {sign} " + " + ".join(
        numbers[name] for name in terms
    )
