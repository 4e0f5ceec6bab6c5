"""The examples of docs/python.md do what the page says: each block is run, in order, in a folder with its photos."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.reference import ROOT
from tests.support.picture_files import by_opencv
from tests.support.pictures import hopper
from tests.support.review_run import write_run

PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page asks for: a photo, a 16-bit scan, and a run with photos in it."""
    Image.fromarray(hopper()).save(tmp_path / "portrait.jpg")
    (tmp_path / "scan.tif").write_bytes(by_opencv(".tiff", hopper().astype("uint16") * 257))
    Path(write_run(tmp_path / "demo")).rename(tmp_path / "demo" / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_an_example() -> None:
    assert PAGE.count("```") == 2 * len(BLOCKS) == 2 * 6


@pytest.mark.usefixtures("ray_cluster")
def test_the_examples_do_what_the_page_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}  # the examples go on from one to the next
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    (shown,) = re.findall(r"print\(restored.format.*# (.*)$", PAGE, re.MULTILINE)
    assert shown in capsys.readouterr().out.splitlines()
    assert Image.open(folder / "restored.jpg").size == Image.open(folder / "portrait.jpg").size
    assert Image.open(folder / "from_pil.png").mode == "RGB"
    made = pq.read_table(folder / "restored").to_pylist()
    assert sorted(Path(row["path"]).name for row in made) == ["portrait.jpg", "restored.jpg"]
    assert [(row["restored_status"], len(row["restored_faces"])) for row in made] == [("restored", 1)] * 2
    assert (len(names["photos"]), len(names["faces"])) == (7, 5)
