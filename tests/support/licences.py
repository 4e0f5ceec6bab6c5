"""What this project is built on: name, version and licence of each direct dependency.

python -m tests.support.licences
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def direct() -> list[str]:
    """The names of the packages in pyproject.toml, without those of its extras."""
    wanted = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    return sorted({re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0] for one in wanted}, key=str.lower)


def licence(package: str) -> str:
    """As its metadata say: the expression, else the classifiers, else the first line of the text; empty: not at all."""
    about: Any = metadata(package)
    classified = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or () if one.startswith("License")]
    text = (about.get("License") or "").strip().splitlines()[:1]
    return about.get("License-Expression") or ", ".join(classified) or "".join(text)[:80]


def table() -> list[tuple[str, str, str]]:
    """Name, version and licence of those that are installed: some exist for some machines only."""
    rows = []
    for package in direct():
        try:
            rows.append((package, metadata(package)["Version"], licence(package)))
        except PackageNotFoundError:
            continue
    return rows


def main() -> None:
    for row in table():
        print("{:<18} {:<14} {}".format(*row))


if __name__ == "__main__":
    main()
