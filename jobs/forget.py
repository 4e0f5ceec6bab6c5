"""`interlcm forget`: takedown, or a photo that must not be in the run any more."""

import sys
from shlex import quote
from typing import Annotated

import typer

from interlcm.errors import printable
from jobs.counted import counted
from jobs.options import Run
from pipeline import storage
from pipeline.manifest.pending import check_where
from pipeline.manifest.query import QueryError
from pipeline.run import lease
from pipeline.run.forget import beside, find
from pipeline.run.forget import forget as forget_photos
from pipeline.storage.output import Output


def forget(
    output: Run,
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Photos that match, such as \"member LIKE 'box7/%'\", as in restore.")
    ],
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why; it stays in the row that says so."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the photos.")] = False,
) -> None:
    """Take photos out of a run for good: restored files, crops, pictures, decisions, names and measures.

    All pages of a member go together. One row stays for each member: its photo_id and source, the status removed, when,
    and the reason. Starting restore again does not bring it back. The source is not touched. The report goes too, but
    for the pictures of other photos; interlcm report makes it again.

    If the command is killed, start it again. This cannot be undone.

    \b
    Examples:
      interlcm forget restored --where "member = 'box7/0412.tif'" --dry-run
      interlcm forget restored --where "photo_id = '5f1c0b7a9d3e24681357'" --reason "takedown request 2026-114"
    """
    typed, output = output, storage.canonical(output)
    Output(output).check_run()
    try:
        check_where(where)
    except QueryError as error:
        raise typer.BadParameter(f"--where: {error}") from error
    if dry_run:
        found = find(output, where)
        for row in found.rows:
            print(printable(f"{row['photo_id']} {row['source']}: {row['member']}"))
        left = f", and {len(found.begun)} that an earlier call began" if found.begun else ""
        print(f"to remove: {in_members(found.photos, len(found.rows))}{left}")
        return
    with lease.held(output):
        found = find(output, where)
        report = storage.exists(Output(output).report) and bool(found.ids)
        files = forget_photos(output, found, reason)
        others = beside(output)
    pages = f", the report's pages among them; make it again: interlcm report {quote(typed)}" if report else ""
    photos = in_members(found.photos + len(found.begun), len(found.ids))
    print(printable(f"removed: {photos}, {counted(files, 'file')}{pages}"))
    if found.ids:
        print("note: bags, exports and copies are not touched; remove the photos there, too", file=sys.stderr)
        for name in others:
            print(printable(f"note: not of the run, and not looked at: {storage.join(output, name)}"), file=sys.stderr)
    else:
        print("note: no photo of the run matches --where", file=sys.stderr)


def in_members(photos: int, members: int) -> str:
    """Photos as interlcm status counts them, and in how many members they are if some have several pages."""
    return counted(photos, "photo") + (f" in {counted(members, 'member')}" if photos != members else "")
