"""The layers of the project: jobs -> pipeline -> interlcm, never back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What a package must not import: those above it, and for the model everything about clusters and storage.
FORBIDDEN = {
    "interlcm": {"ray", "pyarrow", "fsspec", "s3fs", "duckdb", "pipeline", "jobs", "tests"},
    "pipeline": {"jobs", "tests"},
    "jobs": {"tests"},
}
# Words for "whatever had no home".
COLLECTIONS = {"utils", "util", "common", "helpers", "helper", "misc"}

FILES = sorted(path for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))


def imported_packages(code: str, package: tuple[str, ...]) -> set[str]:
    """The top-level packages that a module in `package` imports, anywhere in it, type checking included."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level < len(package) + 1:
            names.add(package[0])
    return names


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(FORBIDDEN)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import ray.data as data", {"ray"}),
        ("def f():\n    from pipeline.index import INDEX_SCHEMA", {"pipeline"}),
        ("from .model import InterLCM", {"interlcm"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pyarrow", {"typing", "pyarrow"}),
    ],
)
def test_every_way_to_import_is_seen(code: str, names: set[str]) -> None:
    assert imported_packages(code, ("interlcm",)) == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[:-1]
    assert imported_packages(path.read_text(), package) & FORBIDDEN[package[0]] == set()


def test_no_module_collects_leftovers() -> None:
    assert [path for path in FILES if {path.stem, path.parent.name} & COLLECTIONS] == []
