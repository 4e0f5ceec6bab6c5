"""A run from outside: tables for other people's tools, pictures for notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas
import polars
import pytest

from jobs.api import Run, open_run
from pipeline import storage
from pipeline.manifest.query import QueryError
from tests.support.pictures import decoded
from tests.support.review_run import HOSTILE, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    output = write_run(tmp_path_factory.mktemp("run"))
    decision = {"face_index": None, "decision": "accept", "comment": "", "decided_at": "2026-01-02T00:00:00+00:00"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(output).parent)
        run = open_run("out")  # a relative path
        first = run.photos()["photo_id"][0].as_py()
        storage.write_bytes(f"{output}/decisions/me.json", json.dumps([{**decision, "photo_id": first}]).encode())
        yield run


def test_tables_go_to_arrow_pandas_and_polars(run: Run) -> None:
    photos, faces, decisions = run.photos(), run.faces(), run.decisions()
    assert sorted(photos["status"].to_pylist()) == ["failed", "no_face", *["restored"] * 4, "skipped"]
    assert len(faces) == 5
    assert decisions["decision"].to_pylist() == ["accept"]
    assert isinstance(photos.to_pandas(), pandas.DataFrame)
    frame = polars.from_arrow(faces)
    assert isinstance(frame, polars.DataFrame)
    assert frame.filter(polars.col("needs_review"))["member"].to_list() == ["box2/pair.png"]


def test_sql_is_that_of_the_command(run: Run) -> None:
    assert run.query("SELECT count(*) AS n FROM index")["n"].to_pylist() == [7]
    with pytest.raises(QueryError, match="only one statement that reads"):
        run.query("DROP VIEW photos")


def test_thumbnails_show_photos_and_say_why_not(run: Run) -> None:
    gallery = run.thumbnails()
    words = {one.member: (one.words, one.jpeg is not None) for one in gallery.thumbnails}
    assert words["box1/hopper.jpg"] == ("restored", True)
    assert words["box2/coffee.jpg"] == ("no_face", True)
    assert words["box2/broken.jpg"] == ("failed: the file ends too early", False)
    html = gallery._repr_html_()
    assert html.count("<img ") == html.count("data:image/jpeg;base64,") == 5
    assert HOSTILE not in html and "&lt;img src=x onerror" in html
    assert len(run.thumbnails("status = 'restored'", count=2).thumbnails) == 2


def test_a_source_that_is_gone_costs_its_own_thumbnail(run: Run) -> None:
    archive = Path(run.place.uri).parent / "scans.tar"
    archive.rename(archive.with_suffix(".away"))
    try:
        words = {one.member: one.words for one in run.thumbnails().thumbnails}
    finally:
        archive.with_suffix(".away").rename(archive)
    assert words["box1/hopper.jpg"] == "restored"
    assert words["box2/coffee.jpg"].startswith("no_face: ") and "scans.tar" in words["box2/coffee.jpg"]


def test_a_strip_shows_before_and_after(run: Run) -> None:
    (pair,) = run.query("SELECT photo_id FROM photos WHERE member = 'box2/pair.png'")["photo_id"].to_pylist()
    shown = decoded(run.strip(pair)._repr_png_())
    assert shown.shape[0] == 360
    assert shown.shape[1] == 2 * 360 + 2 * 177 + 3 * 6
    with pytest.raises(ValueError, match="no photo it's; photos\\(\\) lists"):
        run.strip("it's")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError, match="no run there"):
        open_run(str(tmp_path))
