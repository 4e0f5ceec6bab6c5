"""Write the lists in the documents from the code: `make docs`. tests/test_docs.py compares them.

Between `<!-- NAME -->` and `<!-- end -->` stands the list NAME; the rest of a page is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer.main
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.api.columns import RESTORED_SCHEMA
from jobs.lazy import LazyCommand
from pipeline.cluster.telemetry import METRICS
from pipeline.config.limits import Limits
from pipeline.config.settings import Review
from pipeline.evaluation.schema import EVALUATION_SCHEMA
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest.schema import DECISION_SCHEMA, FACE, MANIFEST_SCHEMA
from pipeline.photos.warning import KINDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LIST = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
TYPES = {
    "int32": "int",
    "int64": "int",
    "float": "float",
    "double": "float",
    "large_string": "string",
    "large_binary": "binary",
}


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands, with their full names."""
    command = command.load() if isinstance(command, LazyCommand) else command
    if not getattr(command, "commands", None):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


COMMANDS = dict(commands(typer.main.get_command(app), "interlcm"))


def helps() -> str:
    """The help of every command."""
    runner = CliRunner(env={"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"})
    texts = []
    for name in COMMANDS:
        result = runner.invoke(app, [*name.split()[1:], "--help"], prog_name="interlcm")
        texts.append(f"## {name}\n\n```\n{result.output.strip()}\n```\n")
    return "\n".join(texts)


def columns(schema: Any) -> str:
    """A table of Arrow fields with their metadata."""
    lines = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for column in list(schema):
        about = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        lines.append(f"| `{column.name}` | {kind(column.type)} | {about['unit']} | {about['description']} |")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """A table of the metrics that a run exports."""
    lines = ["| metric | kind | meaning | labels |", "| --- | --- | --- | --- |"]
    for name, (kind_of, meaning, tags) in METRICS.items():
        lines.append(f"| `{name}` | {kind_of.lower()} | {meaning} | {', '.join(f'`{tag}`' for tag in tags)} |")
    return "\n".join(lines) + "\n"


def kind(of: pa.DataType) -> str:
    if pa.types.is_struct(of):
        return "struct"
    if pa.types.is_list(of) or pa.types.is_fixed_size_list(of):
        return f"list of {kind(of.value_type)}"
    if pa.types.is_timestamp(of):
        return "timestamp"
    return TYPES.get(str(of), str(of))


def thresholds(settings: type) -> str:
    """A table of NAME=VALUE settings, with the docstring's description of each."""
    text = " ".join((settings.__doc__ or "").partition("Attributes:")[2].split())
    names = [field.name for field in fields(settings)]
    lines = ["| name | default | meaning |", "| --- | --- | --- |"]
    for field in fields(settings):
        said = re.search(rf"(?:^| ){field.name}: (.*?)(?= (?:{'|'.join(names)}): |$)", text)
        assert said, f"{settings.__name__} does not describe {field.name}"
        lines.append(f"| `{field.name}` | {in_words(field.default)} | {said[1]} |")
    return "\n".join(lines) + "\n"


def in_words(number: Any) -> str:
    """16,384 rather than 16384; 18 rather than 18.0."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"


def filled(text: str) -> str:
    """A page with its lists updated from the code."""
    lists = {
        "commands": helps,
        "photos": lambda: columns(MANIFEST_SCHEMA),
        "faces": lambda: columns(FACE),
        "index": lambda: columns(INDEX_SCHEMA),
        "evaluation": lambda: columns(EVALUATION_SCHEMA),
        "warnings": lambda: "".join(
            ["| kind | meaning |\n| --- | --- |\n", *(f"| `{k}` | {v} |\n" for k, v in KINDS.items())]
        ),
        "limits": lambda: thresholds(Limits),
        "review": lambda: thresholds(Review),
        "restored": lambda: columns(RESTORED_SCHEMA),
        "decisions": lambda: columns(DECISION_SCHEMA),
        "metrics": metrics,
    }
    return LIST.sub(lambda match: match[1] + lists[match[2]]() + match[3], text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text()))
