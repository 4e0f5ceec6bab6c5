"""The scripts of the report: the page loads each of them, and oxlint finds nothing in all of them together."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / "pipeline" / "report" / "site"
LOADED = re.findall(r'<script src="([\w.]+\.js)\?', (SITE / "index.html").read_text(encoding="utf-8"))
RULES = ("no-undef", "no-unused-vars", "no-redeclare", "eqeqeq", "no-var", "prefer-const")
# All correctness rules of oxlint are on, and these.
CONFIG = {
    "env": {"browser": True, "es2024": True},
    "categories": {"correctness": "error"},
    "rules": dict.fromkeys(RULES, "error"),
}


def said(folder: Path, further: str = "") -> str:
    """What oxlint finds in the scripts, one after the other as the page loads them, and in `further`.

    They are one file, because they share their outermost names: so a name that none declares is found, and one that
    none uses.
    """
    program = shutil.which("oxlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None and not os.environ.get("CI"):
        pytest.skip("needs oxlint, which pip installs with interlcm[test]")
    scripts = [f"// {name}\n{(SITE / name).read_text(encoding='utf-8')}" for name in LOADED]
    whole, config = folder / "report.js", folder / "oxlint.json"
    whole.write_text("\n".join([*scripts, further]).replace('"use strict";\n', ""), encoding="utf-8")
    config.write_text(json.dumps(CONFIG))
    command = [program or "oxlint", "--config", str(config), "--deny-warnings", str(whole)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "1 file" in done.stdout or done.returncode, done.stdout + done.stderr
    return done.stdout if done.returncode else ""


def test_every_script_is_loaded_once() -> None:
    assert sorted(LOADED) == sorted(path.name for path in SITE.glob("*.js"))


def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    assert said(tmp_path) == ""


@pytest.mark.parametrize(
    ("script", "rule"),
    [
        ("const a = {;", "Unexpected token"),
        ("Review.photo = Photoes.count;", "no-undef"),
        ("const unused = 1;", "no-unused-vars"),
        ("function announce() {}", "announce"),
        ("if (Photos.count == 1) announce('');", "eqeqeq"),
    ],
)
def test_the_linter_sees_what_is_wrong(tmp_path: Path, script: str, rule: str) -> None:
    assert rule in said(tmp_path, script)
