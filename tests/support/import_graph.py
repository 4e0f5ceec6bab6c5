"""Who imports what, read from the code of the three packages and of the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("interlcm", "pipeline", "jobs")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Import = ast.Import | ast.ImportFrom


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, for all modules of a package."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {name: path for package in PACKAGES for name, path in modules(package).items()}
TESTS = modules("tests")


def names_of(node: Import, module: str, package: bool, known: set[str]) -> set[str]:
    """The dotted names that one import statement of a module loads.

    package: the module is an __init__.py, so a relative import starts from itself.
    """
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    start = module.split(".")[: None if package else -1]
    above = start[: len(start) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}


def imported(code: str, module: str, package: bool, known: set[str]) -> set[str]:
    """The modules that a module imports, anywhere in it: those of `known` in full, others by their top-level name."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, Import)]
    names = {name for node in nodes for name in names_of(node, module, package, known)}
    return {name if name in known else name.partition(".")[0] for name in names}


def imports_of(name: str, path: Path, known: set[str]) -> set[str]:
    return imported(path.read_text(), name, path.name == "__init__.py", known)


@dataclass(frozen=True)
class Late:
    """An import inside a function: `module` loads `names` only when the function is called."""

    module: str
    line: int
    names: frozenset[str]

    def __str__(self) -> str:
        return f"{MODULES[self.module].relative_to(ROOT)}:{self.line} imports {', '.join(sorted(self.names))}"


@cache
def first_and_late(module: str) -> tuple[frozenset[str], tuple[Late, ...]]:
    """What a module of the packages loads when it is imported itself, and its late imports."""
    path = MODULES[module]
    first: set[str] = set()
    late = []
    for node, inside in statements(ast.parse(path.read_text()), False):
        names = names_of(node, module, path.name == "__init__.py", set(MODULES))
        if inside:
            late.append(Late(module, node.lineno, frozenset(names)))
        else:
            first |= names
    return frozenset(first), tuple(late)


def statements(node: ast.AST, inside: bool) -> Iterator[tuple[Import, bool]]:
    """Each import statement below a node that runs, and whether it is inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Import):
            yield child, inside
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from statements(child, inside or isinstance(child, Function))


def loaded_with(name: str) -> set[str]:
    """All modules that an import of this one loads, as far as the code of the packages says."""
    found: set[str] = set()
    left = [name]
    while left:
        one = left.pop()
        if one in found:
            continue
        found.add(one)
        if one in MODULES:
            left += [*first_and_late(one)[0], *([one.rpartition(".")[0]] if "." in one else [])]
    return found
