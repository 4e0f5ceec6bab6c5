"""The pictures of a report: copies that browsers show, tiles of large scans, and what becomes of old ones."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.faces.alignment import TEMPLATE
from pipeline.index.build import write_archive
from pipeline.index.sources import Source
from pipeline.manifest import query
from pipeline.manifest.write import write_part
from pipeline.photos.decode import decode
from pipeline.report import pictures as report_pictures
from pipeline.report.build import copy_pictures, write_report
from pipeline.report.data import Pictures
from pipeline.report.display_copies import TILE, crop_side, display_copies, sheet
from tests.support import pictures as support_pictures
from tests.support.archives import put, tar_bytes
from tests.support.missing_packages import uninstall
from tests.support.pictures import resized
from tests.support.report_files import received
from tests.support.review_run import encoded, large_scan, write_run
from tests.support.rows import result_row

NO_PICTURES = Pictures("none", 4096, {})


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


def tasks(output: str, max_side: int = 4096) -> report_pictures.Task:
    return report_pictures.Task(output, max_side, Limits(), Environment({}))


def test_copies_are_what_browsers_show(tmp_path: Path) -> None:
    pixels = support_pictures.hopper(600)
    points = [((TEMPLATE / 512 * 300) + (150, 100)).tolist()]
    larger = encoded(np.repeat(np.repeat(pixels, 2, 0), 2, 1), ".png")
    files = display_copies(encoded(pixels, ".tif"), 1, larger, points, 500, Limits())
    assert list(files) == ["0_before.jpg", "0_after.jpg", "faces.jpg", "before.jpg", "after.jpg", "thumbnail.jpg"]
    sizes = {name: (decode(data).width, decode(data).format) for name, data in files.items()}
    assert sizes["before.jpg"] == sizes["after.jpg"] == (427, "jpeg")  # 703 high, at most 500
    assert sizes["0_before.jpg"] == sizes["0_after.jpg"] == (600, "jpeg")  # as large as in the enlarged photo
    before, after = (decode(files[f"0_{side}.jpg"]).srgb().astype(int) for side in ("before", "after"))
    assert np.abs(before - after).mean() < 3  # the same place of both


def test_a_sheet_has_the_faces_before_above_those_after() -> None:
    tiles = [[np.full((TILE, TILE, 3), 2 * n + side, np.uint8) for side in (0, 1)] for n in range(40)]
    made = sheet(tiles)
    assert made.shape == (4 * TILE, 32 * TILE, 3)
    middles = made[TILE // 2 :: TILE, TILE // 2 :: TILE, 0]
    assert middles[0].tolist() == list(range(0, 64, 2))
    assert middles[1].tolist() == list(range(1, 64, 2))
    assert middles[2, :8].tolist() == list(range(64, 80, 2))


def test_a_crop_is_as_large_as_the_face_within_bounds() -> None:
    assert [crop_side(TEMPLATE * scale) for scale in (0.1, 1.0, 5.0)] == [256, 512, 1024]


def test_sixteen_bits_and_other_formats_are_shown_in_eight(tmp_path: Path) -> None:
    deep = (support_pictures.coffee(400).astype(np.uint16) * 257).view(np.uint16)
    files = display_copies(encoded(deep, ".tif"), 1, None, [], 4096, Limits())  # type: ignore[arg-type]
    assert list(files) == ["thumbnail.jpg"]
    shown = decode(files["thumbnail.jpg"])
    assert (shown.width, shown.bit_depth) == (360, 8)
    assert abs(shown.srgb().mean() - support_pictures.coffee(360).mean()) < 2


def test_a_part_is_read_twice_at_once_without_harm(tmp_path: Path) -> None:
    """As each question about all photos does. Scans that share a fragment end the process at times, not always: this
    can miss them."""
    output = write_run(tmp_path)
    for _ in range(60):
        assert len(report_pictures.wanted(output, "all")) == 5


def test_copies_are_made_once_and_named_by_their_result(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    rows = report_pictures.wanted(output, "all")
    done = report_pictures.copy_unit(rows, tasks(output)).to_pylist()
    assert [row["error"] for row in done] == [None] * 5
    assert len(report_pictures.existing(f"{output}/report")) == 5
    progress = list(copy_pictures(output, "all", 4096))  # needs no Ray: there is no work
    assert [(step.total, step.done, step.bytes) for step in progress] == [(5, 5, 0)]
    write_report(output, Pictures("all", 4096, {}))
    about = received(f"{output}/report", "summary")
    for row in received(f"{output}/report", "photos-0"):
        copies = row[about["photo_fields"].index("pictures")]
        shown = row[about["photo_fields"].index("status")] in ("restored", "no_face")
        assert (copies is not None) == shown
        assert not shown or Path(output, "report", copies, "thumbnail.jpg").exists()
    assert report_pictures.folder("x", "1", 4096) != report_pictures.folder("x", "2", 4096)


def test_copies_can_be_for_review_alone(reviewed: str) -> None:
    assert report_pictures.wanted(reviewed, "review")["member"].to_pylist() == ["box2/pair.png"]
    assert report_pictures.wanted(reviewed, "none").num_rows == 0


def test_a_source_that_is_another_one_now_costs_its_pictures_alone(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    archive = tmp_path / "scans.tar"
    rows = report_pictures.wanted(output, "all")
    archive.write_bytes(archive.read_bytes() + b"\0" * 512)
    failed = {row["photo_id"]: row["error"] for row in report_pictures.copy_unit(rows, tasks(output)).to_pylist()}
    assert all("changed since it was indexed" in error for error in failed.values())
    write_report(output, Pictures("all", 4096, failed))
    about = received(f"{output}/report", "summary")
    row = dict(zip(about["photo_fields"], received(f"{output}/report", "photos-0")[0], strict=True))
    assert row["pictures"] is None
    assert "changed" in row["picture_error"]


@pytest.mark.parametrize(("depth", "error"), [(100, None), (64, "deeper than the limit of 64 folders")])
def test_pictures_are_read_with_the_limits_of_the_run(tmp_path: Path, depth: int, error: str | None) -> None:
    """A run with --limit depth=100 reads a tar of 70 folders in one another; its report has to read it too."""
    output, name = str(tmp_path / "out"), "d/" * 70 + "coffee.jpg"
    data = support_pictures.encoded(support_pictures.coffee(96))
    archive = put(str(tmp_path), "deep.tar", tar_bytes({name: data}))
    limits = Limits(depth=depth)
    write_archive(
        Source(archive, "file"), "deep.tar", f"{output}/index/deep-0123456789abcdef.parquet", output, Limits(depth=100)
    )
    with query.connect(output) as connection:
        (row,) = query.run(connection, "SELECT photo_id, source FROM index").to_pylist()
    digest = hashlib.sha256(data).hexdigest()
    write_part([result_row(name, "no_face", **row, sha256=digest)], output, "1")
    task = report_pictures.Task(output, 256, limits, Environment({}))
    (done,) = report_pictures.copy_unit(report_pictures.wanted(output, "all"), task).to_pylist()
    assert (done["error"] is None) if error is None else error in done["error"]


def test_a_run_that_was_moved_shows_its_own_photos(reviewed: str, tmp_path: Path) -> None:
    moved = str(tmp_path / "moved")
    shutil.copytree(reviewed, moved)
    Path(reviewed, "restored").rename(tmp_path / "out of the way")
    try:
        done = report_pictures.copy_unit(report_pictures.wanted(moved, "all"), tasks(moved))
    finally:
        (tmp_path / "out of the way").rename(Path(reviewed, "restored"))
    assert set(done["error"].to_pylist()) == {None}
    write_report(moved, NO_PICTURES)
    about = received(f"{moved}/report", "summary")
    rows = [dict(zip(about["photo_fields"], row, strict=True)) for row in received(f"{moved}/report", "photos-0")]
    restored = [row["restored"] for row in rows if row["restored"]]
    assert restored and all(Path(f"{moved}/report", unquote(path)).is_file() for path in restored)


def test_a_large_photo_is_cut_into_tiles_above_its_reduced_picture() -> None:
    (pixels, _) = large_scan()["strip.png"]
    files = display_copies(encoded(pixels, ".png"), 1, encoded(pixels, ".png"), [], 65536, Limits())
    assert decode(files["before.jpg"]).width == decode(files["after.jpg"]).width == 4096
    assert files["tiles.js"] == b'Report.receive("tiles", {"before": [9000, 600], "after": [9000, 600]});\n'
    for level, width, columns in ((14, 9000, 5), (13, 4500, 3)):
        names = [f"before_files/{level}/{column}_0.jpg" for column in range(columns)]
        assert [name for name in sorted(files) if name.startswith(f"before_files/{level}/")] == names
        parts = [decode(files[name]).srgb() for name in names]
        assert {part.shape[1] for part in parts[:-1]} == {2048}
        whole = np.concatenate(parts, axis=1).astype(int)
        expected = resized(pixels, width).astype(int)
        assert whole.shape == expected.shape and abs(whole - expected).mean() < 8  # grain, in JPEG
    assert not [name for name in files if name.startswith("before_files/12/")]


def test_the_tiles_of_a_run_in_a_bucket_are_those_of_a_disk(tmp_path: Path, bucket: str, fresh_clients: None) -> None:
    output = Path(write_run(tmp_path, large_scan()))
    for name, _ in storage.list_files(str(output)):
        storage.write_bytes(f"{bucket}/out/{name}", (output / name).read_bytes())
    made = []
    for place in (str(output), f"{bucket}/out"):
        done = report_pictures.copy_unit(report_pictures.wanted(place, "all"), tasks(place, 65536))
        assert set(done["error"].to_pylist()) == {None}
        folder = f"{place}/report/pictures"
        made.append({name: storage.read_bytes(f"{folder}/{name}") for name, _ in storage.list_files(folder)})
    assert made[0] == made[1] and len([name for name in made[0] if "_files/" in name]) == 16


@pytest.mark.parametrize(
    ("width", "most", "tiles"),
    [(4096, 65536, "{}"), (4095, 65536, None), (4097, 4096, "{}"), (4097, 4095, None), (4097, 65536, '{"before": [')],
)
def test_a_picture_of_4096_px_says_whether_it_has_tiles(width: int, most: int, tiles: str | None) -> None:
    """The page asks whenever a picture is as large as a reduced one."""
    data = encoded(np.full((64, width, 3), 90, np.uint8), ".png")
    files = display_copies(data, 1, data, [], most, Limits())
    assert ("tiles.js" in files) == (tiles is not None) == (decode(files["after.jpg"]).width == 4096)
    assert tiles is None or tiles in files["tiles.js"].decode()
    assert bool([name for name in files if "_files/" in name]) == (tiles not in (None, "{}"))


def test_only_the_side_that_is_large_has_tiles() -> None:
    data = encoded(np.full((64, 3000, 3), 90, np.uint8), ".png")
    enlarged = encoded(np.full((128, 6000, 3), 90, np.uint8), ".png")
    files = display_copies(data, 1, enlarged, [], 65536, Limits())
    assert {name.split("/")[0] for name in files if "/" in name} == {"after_files"}
    assert files["tiles.js"] == b'Report.receive("tiles", {"after": [6000, 128]});\n'
    assert decode(files["before.jpg"]).width == 3000


def test_pictures_that_no_report_shows_any_more_go(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    report_pictures.copy_unit(report_pictures.wanted(output, "all"), tasks(output))
    pictures = Path(output, "report", "pictures")
    gone = [pictures / "00" / "0000-12345678", pictures / "ab" / "abcd-12345678"]  # a former result, a photo that left
    for folder in gone:
        (folder / "after_files" / "14").mkdir(parents=True)
        (folder / "after_files" / "14" / "0_0.jpg").write_bytes(b"tile")
        (folder / "thumbnail.jpg").write_bytes(b"picture")
    assert write_report(output, NO_PICTURES).removed == 0 and gone[0].exists()  # without pictures
    assert write_report(output, Pictures("review", 4096, {})).removed == 2
    assert not gone[0].exists() and not gone[1].parent.exists()
    assert len(report_pictures.existing(f"{output}/report")) == 5  # also those that this report does not show
    assert write_report(output, Pictures("all", 2048, {})).removed == 5


def test_missing_decoders_are_noticed_before_threads_begin(reviewed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads the failed import of one would give the others half a module: a traceback in place of a remedy."""
    uninstall("cv2", "pipeline.report.display_copies", monkeypatch)
    monkeypatch.setattr(report_pictures, "spread", lambda *_: pytest.fail("threads began"))
    with pytest.raises(ModuleNotFoundError, match="cv2"):
        next(report_pictures.make(report_pictures.wanted(reviewed, "all"), tasks(reviewed)))
