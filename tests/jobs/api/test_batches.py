"""A column of image bytes in, the same rows out, whatever the photos are."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.api import DetectFaces, PasteFaces, RestoreFaces, RestorePhotos, Restorer
from jobs.api.columns import RESTORED_SCHEMA
from jobs.api.here import open_row
from pipeline.run.chain import Work
from tests.support.pictures import coffee, encoded, hopper


@pytest.fixture(scope="module")
def photos(tiny_weights: str) -> RestorePhotos:
    return RestorePhotos("jpg", name="__key__", weights=tiny_weights)


def pages() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(coffee()).save(stream, "TIFF", save_all=True, append_images=[Image.fromarray(coffee(96))])
    return stream.getvalue()


FACE, NO_FACE = encoded(hopper()), encoded(coffee())
# Key -> bytes, and status and error type of the rows that come out.
ROWS: dict[str, tuple[bytes | None, list[tuple[str, str | None]]]] = {
    "a.jpg": (FACE, [("restored", None)]),
    "none": (None, [("failed", "no_bytes")]),
    "b.jpg": (NO_FACE, [("no_face", None)]),
    "c.txt": (b"some text", [("skipped", "not_an_image")]),
    "d.jpg": (b"some text", [("failed", "not_an_image")]),
    "e.tif": (pages(), [("no_face", None), ("no_face", None)]),
    "f.jpg": (FACE, [("restored", None)]),
}
BATCH = pa.table({"__key__": list(ROWS), "jpg": [data for data, _ in ROWS.values()], "number": range(len(ROWS))})


def statuses(made: pa.Table) -> list[tuple[str, str, str | None]]:
    names = ("__key__", "restored_status", "restored_error_type")
    return [(row[names[0]], row[names[1]], row[names[2]]) for row in made.select(names).to_pylist()]


EXPECTED = [(key, *result) for key, (_, results) in ROWS.items() for result in results]


def test_rows_in_are_rows_out(photos: RestorePhotos, tiny_weights: str) -> None:
    made = photos(BATCH)
    assert statuses(made) == EXPECTED
    assert made.schema == pa.schema([*BATCH.schema, *RESTORED_SCHEMA])
    assert made["number"].to_pylist() == [0, 1, 2, 3, 4, 5, 5, 6]
    assert made["restored_page"].to_pylist() == [1, 1, 1, 1, 1, 1, 2, 1]
    assert all(bool(row["restored_error"]) == bool(row["restored_error_type"]) for row in made.to_pylist())
    first, *_, last = made.to_pylist()
    expected = Restorer.from_pretrained(tiny_weights).restore(FACE, member="a.jpg")
    assert first["restored"] == expected.to_bytes()
    assert first["restored_faces"][0]["box"] == list(expected.faces[0].box)
    assert last["restored"] != first["restored"]  # it names another source
    assert [row["restored"] for row in made.slice(1, 6).to_pylist()] == [None] * 6


def test_no_query_string_gets_into_a_restored_file() -> None:
    row = open_row("0", FACE, source="https://host/a.tar?key=secret", member="https://host/b.jpg?sig=secret")
    assert (row["source"], row["member"]) == ("https://host/a.tar", "https://host/b.jpg")


def test_batches_of_numpy_arrays_are_taken_too(photos: RestorePhotos) -> None:
    batch = {name: np.array(BATCH[name].to_pylist(), object) for name in ("__key__", "jpg")}
    made = photos({**batch, "size": np.arange(2 * len(ROWS)).reshape(-1, 2)})
    assert statuses(made) == EXPECTED
    assert made["size"].to_pylist()[1] == [2, 3]


def test_a_struct_with_bytes_and_path_is_an_image(photos: RestorePhotos) -> None:
    images = [{"bytes": FACE, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    photos.name = None
    try:
        made = photos(pa.table({"jpg": images}))
    finally:
        photos.name = "__key__"
    assert made["restored_status"].to_pylist() == ["restored", "failed", "failed"]
    assert b"SourceMember>a.jpg<" in made["restored"][0].as_py()


@pytest.fixture(scope="module")
def stages(tiny_weights: str) -> list[Any]:
    kinds = (partial(DetectFaces, "jpg", "__key__"), RestoreFaces, PasteFaces)
    return [make(weights=tiny_weights, device="cpu") for make in kinds]


def through(stages: list[Any], batch: pa.Table) -> pa.Table:
    for stage in stages:
        batch = stage(batch)
    return batch


def test_one_by_one_the_stages_give_the_same(photos: RestorePhotos, stages: list[Any]) -> None:
    assert through(stages, BATCH).equals(photos(BATCH))
    assert through(stages, BATCH.slice(0, 0)).equals(photos(BATCH.slice(0, 0)))
    with pytest.raises(ValueError, match="comes from the stage before"):
        stages[2](BATCH)


def failing(work: Work) -> Work:
    """The stage, which fails for one photo as a library does."""

    def fails(table: pa.Table) -> Any:
        if ("f.jpg", None) in zip(table["member"].to_pylist(), table["status"].to_pylist(), strict=True):
            raise RuntimeError("a device\nis lost")
        return work(table)

    return fails


FAILED = [*EXPECTED[:-1], ("f.jpg", "failed", "RuntimeError")]


def test_an_error_that_nobody_foresaw_costs_its_own_photo(
    photos: RestorePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = photos.stages.here.made
    monkeypatch.setitem(made, "restore", failing(made["restore"]))
    assert statuses(photos(BATCH)) == FAILED
    assert photos(BATCH)["restored_error"][-1].as_py() == "RuntimeError: a device is lost"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_in_a_single_stage_costs_its_own_photo(
    stages: list[Any], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages[place], "work", failing(stages[place].work))
    assert statuses(through(stages, BATCH)) == FAILED


def test_a_column_of_the_user_is_not_replaced(photos: RestorePhotos) -> None:
    with pytest.raises(ValueError, match="column restored already: rename it"):
        photos(BATCH.append_column("restored", BATCH["number"]))
    with pytest.raises(KeyError, match="jpg"):
        photos(BATCH.drop_columns("jpg"))
