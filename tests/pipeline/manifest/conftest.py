"""A small run that several modules of this folder query."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.manifest.write import write_part
from tests.support.rows import face, index_row, result_row, write_index


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Three photos: one with two faces that was done again, one failed, one without a result."""
    uri = str(tmp_path / "out")
    write_index(uri, [index_row(member) for member in ("a.jpg", "b.jpg", "c.jpg")])
    old = result_row("a.jpg", restored_uri="old.png", face_count=1, faces=[face(0, psnr=10.0)])
    write_part([old, result_row("b.jpg", "failed", error="cannot decode")], uri, "1")
    faces = [face(0, psnr=20.0), face(1, psnr=30.0)]
    write_part([result_row("a.jpg", minute=1, restored_uri="new.png", face_count=2, faces=faces)], uri, "2")
    return uri
