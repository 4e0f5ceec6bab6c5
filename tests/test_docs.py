"""The documentation names everything that a user can type or see: commands, options, columns, settings, error types."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.cluster.telemetry import METRICS
from pipeline.evaluation.schema import EVALUATION_SCHEMA
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.manifest.schema import DECISION_SCHEMA, FACE, MANIFEST_SCHEMA
from tests.reference import COMMANDS, PAGES, ROOT, filled

TEXT = "\n".join(page.read_text() for page in PAGES)
# What is in backquotes or in a block of code.
CODE = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", TEXT, re.DOTALL))


def missing(names: set[str], text: str = CODE) -> list[str]:
    """Names that do not occur in the text as a whole word."""
    return sorted(name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))


def test_every_command_is_documented() -> None:
    assert len(COMMANDS) > 8
    assert missing(set(COMMANDS)) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")}
    assert missing(options - {"--help"}) == []


def test_no_option_is_documented_that_is_not_there() -> None:
    known = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    typed = {
        option
        for line in re.findall(r"^ *(?:\.venv/bin/)?interlcm .*$", CODE, re.MULTILINE)
        for option in re.findall(r"(?<= )--[a-z0-9-]+", line.partition("#")[0])
    }
    assert typed - known - {"--help"} == set()


def test_no_page_takes_the_package_from_an_index() -> None:
    """It is on none, and somebody else may take the name there."""
    assert re.findall(r"install[^`\n]*\binterlcm\b[^`\n]*", CODE) == []


@pytest.mark.parametrize(
    "schema",
    [MANIFEST_SCHEMA, FACE, INDEX_SCHEMA, DECISION_SCHEMA, EVALUATION_SCHEMA],
    ids=["photos", "faces", "index", "decisions", "evaluation"],
)
def test_every_column_is_documented(schema: Any) -> None:
    columns: list[pa.Field] = list(schema)
    assert missing({column.name for column in columns}) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_are_those_of_the_code(page: Path) -> None:
    assert page.read_text() == filled(page.read_text()), "make docs brings them up to date"


def error_types() -> set[str]:
    """The error types that the code can give a row: literals where an error or an ended row is made."""
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = {"PhotoError": 0, "ArchiveError": 1, "ended": 2}.get(name)
            if place is not None and len(node.args) > place:
                found |= {text.value for text in ast.walk(node.args[place]) if isinstance(text, ast.Constant)}
    return {text for text in found if isinstance(text, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+|encrypted", text)}


def test_every_metric_is_documented() -> None:
    assert missing(set(METRICS)) == []


def test_every_error_type_is_documented() -> None:
    assert {"decode_error", "too_large", "encrypted", "not_a_file"} - {"decode_error"} <= error_types()
    assert missing(error_types()) == []


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


NAMED = re.compile(r"\b(?:pipeline|interlcm|jobs|tests|docs)/[\w/.-]*\w\.(?:py|md|json|yaml)\b")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_a_file_of_the_project_that_is_named_exists(page: Path) -> None:
    assert [name for name in NAMED.findall(page.read_text()) if not (ROOT / name).exists()] == []
