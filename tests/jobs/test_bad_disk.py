"""`interlcm restore` to a disk that is full or read-only: one line, nothing half written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.manifest.counts import counts
from tests.support.archives import put, tar_bytes
from tests.support.command import Interlcm
from tests.support.fault_proxy import mounted
from tests.support.pictures import coffee, encoded, hopper


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow  # test_run has an output that fails; test_storage_faults, a full disk
def test_a_full_disk(tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    photos = {"hopper.png": encoded(hopper(480), "PNG"), "coffee.jpg": encoded(coffee(96))}
    source = put(str(tmp_path), "scans.tar", tar_bytes(photos))
    with mounted(tmp_path / "disk", "size=200k") as disk:
        assert len(photos["hopper.png"]) > 200_000
        words = ["restore", source, "--output", str(disk / "out"), "--weights", tiny_weights]
        assert interlcm(*words) == 1
        place = f"{disk}/out/restored/scans.tar/hopper.png.png"
        assert interlcm.line() == f"{place}: no space left; make room, then start the same command again"
        found = counts(str(disk / "out"))
        assert (found.indexed, found.restored, found.failed, found.adds_up) == (2, 0, 0, True)
        assert found.pending >= 1
        assert not [name for name in files(disk / "out") if name.startswith("restored/") or name.endswith(".part")]

        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert interlcm(*words) == 0
        found = counts(str(disk / "out"))
        assert (found.restored, found.no_face, found.pending) == (1, 1, 0)


def test_a_read_only_disk(tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    source = put(str(tmp_path), "scans.tar", tar_bytes({"coffee.jpg": encoded(coffee(96))}))
    with mounted(tmp_path / "disk", "size=200k") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert interlcm("restore", source, "--output", str(disk / "out"), "--weights", tiny_weights) == 1
        assert interlcm.line().startswith(f"{disk}/out/")
        assert interlcm.line().endswith("the file system is read-only; remount it, or name another folder")
        assert files(disk) == set()
