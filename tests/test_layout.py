"""The layers of the project, jobs -> pipeline -> interlcm, and the rooms of pipeline/: every import goes down."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.import_graph import MODULES, ROOT, TESTS, imported, imports_of

# From the ground up. A file may import from its own room and from rooms on lower floors. Imports inside functions and
# under TYPE_CHECKING count.
FLOORS = (
    {"interlcm"},
    {"storage", "faces"},
    {"config", "cluster", "networks"},
    {"archives", "photos", "weights"},
    {"index", "sandbox"},
    {"manifest", "provenance", "training"},
    {"stages"},
    {"run"},
    {"report", "verify", "export", "evaluation", "benchmark"},
    {"jobs"},
)
TOPS = {"jobs", "interlcm"}  # not folders of pipeline/
# The model knows nothing of clusters, tables and storage.
NOT_IN_THE_MODEL = {"ray", "pyarrow", "fsspec", "s3fs", "duckdb"}
# Names of modules and folders for things that have no place of their own.
COLLECTIONS = {"utils", "util", "common", "helpers", "helper", "misc"}


IMPORTS = {name: imports_of(name, path, set(MODULES)) for name, path in MODULES.items()}


def room(module: str) -> str:
    """interlcm, jobs, or the room of pipeline/ that a module is in."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pipeline" and len(parts) > 1 else parts[0]


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import ray.data as data", {"ray"}),
        ("def f():\n    from pipeline.index.schema import INDEX_SCHEMA", {"pipeline.index.schema"}),
        ("from pipeline.photos import tiff", {"pipeline.photos.tiff"}),
        ("from .model import InterLCM", {"interlcm.model"}),
        ("from . import model", {"interlcm.model"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pyarrow", {"typing", "pyarrow"}),
    ],
)
def test_every_way_to_import_is_seen(code: str, names: set[str]) -> None:
    assert imported(code, "interlcm.losses", False, set(MODULES)) == names


def test_pipeline_holds_rooms_and_nothing_else() -> None:
    assert [path.name for path in (ROOT / "pipeline").glob("*.py")] == ["__init__.py"]
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    assert rooms == set().union(*FLOORS) - TOPS


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    own = room(name)
    if own == "pipeline":
        assert IMPORTS[name] == set()
        return
    other = {room(found) for found in IMPORTS[name] if found in MODULES} - {own}
    assert {found for found in other if floor(found) >= floor(own)} == set()
    if own == "interlcm":
        assert IMPORTS[name] & NOT_IN_THE_MODEL == set()


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {name: {found for found in names if found in MODULES} - {name} for name, names in IMPORTS.items()}
    # A package's __init__ that hands on names of its own modules is their roof, not a part of the circle.
    roofs = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: {found for found in names if found not in roofs} for name, names in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_packages_hand_on_no_names() -> None:
    """So that importing one small module of a room loads no other. storage does, and the two that users import from."""
    full = [name for name, path in MODULES.items() if path.name == "__init__.py" and path.read_text().strip()]
    assert sorted(full) == ["interlcm", "jobs.api", "pipeline.storage"]


def test_no_module_collects_leftovers() -> None:
    assert [path for path in MODULES.values() if {path.stem, path.parent.name} & COLLECTIONS] == []


def test_the_project_imports_no_test() -> None:
    assert {name for name, found in IMPORTS.items() if "tests" in found} == set()


def test_the_tests_of_pipeline_are_in_its_rooms() -> None:
    rooms = {path.parent.name for path in (ROOT / "tests" / "pipeline").rglob("test_*.py")}
    assert rooms == set().union(*FLOORS) - TOPS


def test_no_test_module_imports_another() -> None:
    shared = {"tests.support", "tests.corpus", "tests.scale", "tests.reference"}
    for name, path in TESTS.items():
        found = {one for one in imports_of(name, path, set(TESTS)) if one in TESTS and one != "tests"}
        assert {
            one for one in found if not any(one == place or one.startswith(f"{place}.") for place in shared)
        } == set()
