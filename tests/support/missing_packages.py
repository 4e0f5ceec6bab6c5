"""A package that is not installed, for code of this project that imports it late."""

from __future__ import annotations

import sys

import pytest


def uninstall(package: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test ends, the package cannot be imported, and this module of the project has to be imported anew."""
    above, _, name = module.rpartition(".")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(sys.modules[above], name, raising=False)
