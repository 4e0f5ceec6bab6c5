"""The files that start clusters: cluster.yaml, rayjob.yaml and the Dockerfile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def load(name: str) -> Any:
    """A YAML file of the repository's root."""
    return yaml.safe_load((ROOT / name).read_text())


def change(document: Any, path: str, value: Any) -> None:
    """Set the value at a path such as spec/workerGroupSpecs/0/replicas, which may not exist yet."""
    *parents, last = path.split("/")
    for name in parents:
        document = document[int(name) if name.isdigit() else name]
    document[last] = value


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    (version,) = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()
