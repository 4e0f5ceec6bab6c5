"""`interlcm status`: whether a run accounts for every photo."""

import sys
from typing import TYPE_CHECKING

import typer

from jobs.options import Run

if TYPE_CHECKING:
    from pipeline.manifest import Counts

TERMS = ("restored", "no_face", "skipped", "failed", "pending")


def status(output: Run) -> None:
    """Count the photos of a run by what became of them.

    Exit code 1 when the numbers do not add up.

    \b
    Examples:
      interlcm status restored
      interlcm status s3://archive/restored
    """
    from pipeline.manifest import counts

    found = counts(output)
    print(equation(found))
    print(f"faces restored: {found.faces}")
    if found.failures:
        print("failed: " + ", ".join(f"{count} {error_type}" for error_type, count in found.failures.items()))
        print(f"  which: interlcm query {output} \"SELECT member, error FROM photos WHERE status = 'failed'\"")
    if found.pending:
        print("pending: start the same interlcm restore again to continue")
    if not found.adds_up:
        print(f"{output}: the numbers do not add up; index and manifest are not of the same run", file=sys.stderr)
        raise typer.Exit(1)


def equation(found: "Counts") -> str:
    """Two lines: the names, and below each its number."""
    numbers = {name: f"{getattr(found, name):{len(name)}d}" for name in ("indexed", *TERMS)}
    width = {name: len(number) for name, number in numbers.items()}
    names = " + ".join(name.rjust(width[name]) for name in TERMS)
    sign = "=" if found.adds_up else "!="
    total = "indexed".rjust(width["indexed"])
    return f"{total} {'='.rjust(len(sign))} {names}\n{numbers['indexed']} {sign} " + " + ".join(
        numbers[name] for name in TERMS
    )
