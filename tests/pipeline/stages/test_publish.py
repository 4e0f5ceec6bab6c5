"""Last stage: paste, publish, commit; called on Arrow tables without Ray."""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config.job import Job
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.stages import row
from pipeline.stages.detect import DetectFaces
from pipeline.stages.publish import DONE, publish
from pipeline.stages.row import Row
from pipeline.storage.errors import storage_errors
from tests.support.archives import put
from tests.support.metadata_files import IPTC, photoshop, with_segment
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side
from tests.support.stages import ended_row, job, photo_row, rows_of

BOTH = side_by_side(astronaut(), hopper(160))


@pytest.fixture
def this_job(tmp_path: Path, tiny_weights: str) -> Job:
    return job(tmp_path / "out", tiny_weights)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str) -> Callable[..., Row]:
    """A photo as the third stage returns it; its faces are "restored" to grey."""
    finder = DetectFaces(job(tmp_path_factory.mktemp("out"), tiny_weights))

    def build(*arguments: Any, **columns: Any) -> Row:
        (made,) = rows_of(finder, [photo_row(*arguments, **columns)])
        if made["crops"] is not None:
            made |= {"restored_crops": b"\x80" * len(made["crops"]), "seconds_restore": 0.5}
        return made

    return build


def manifest(this_job: Job) -> list[Row]:
    parts = sorted(Path(this_job.output, "manifest").glob("*"))
    tables = [pq.read_table(part) for part in parts]
    assert all(table.schema.equals(MANIFEST_SCHEMA, check_metadata=True) for table in tables)
    return [made for table in tables for made in table.to_pylist()]


def composed(this_job: Job, *rows: Row) -> list[Row]:
    """The manifest rows that this batch adds."""
    before = [made["photo_id"] for made in manifest(this_job)]
    done = publish(row.to_table(list(rows)), this_job)
    assert done.schema.equals(DONE)
    assert done["photo_id"].to_pylist() == [one["photo_id"] for one in rows]
    return [made for made in manifest(this_job) if made["photo_id"] not in before]


def test_the_faces_of_a_damaged_photo_need_review(this_job: Job, found: Callable[..., Row]) -> None:
    whole = encoded(hopper(320), "JPEG")
    cut = len(whole) * 9 // 10
    damaged = whole[:cut] + bytes(len(whole) - cut - 2) + whole[-2:]
    (made,) = composed(this_job, found("a.jpg", damaged))
    (warning,) = made["warnings"]
    assert made["status"] == "restored" and warning["kind"] == "rows_lost" and "rows" in warning["words"]
    assert all(one["needs_review"] and warning["words"] in one["review_reason"] for one in made["faces"])
    (sound,) = composed(this_job, found("b.jpg", whole))
    assert not sound["warnings"] and "damaged" not in (sound["faces"][0]["review_reason"] or "")


def test_what_is_not_carried_over_is_in_the_row(tmp_path: Path, tiny_weights: str, found: Callable[..., Row]) -> None:
    other = job(tmp_path / "webp", tiny_weights, format="webp")
    data = with_segment(encoded(hopper(), "JPEG"), 0xED, photoshop(IPTC))
    (made,) = composed(other, found("a.jpg", with_segment(data, 0xE5, b"RMETA\0")))
    words = ["not carried over: segment APP5 RMETA", "not carried over to webp: IPTC"]
    assert made["warnings"] == [{"kind": "not_carried", "words": one} for one in words]


def test_a_restored_photo_and_its_row(this_job: Job, found: Callable[..., Row]) -> None:
    (made,) = composed(this_job, found("box 1/both.png", BOTH, "PNG"))
    assert made["status"] == "restored"
    assert made["restored_uri"] == f"{this_job.output}/restored/a.tar/box 1/both.png.png"
    data = Path(made["restored_uri"]).read_bytes()
    assert made["restored_sha256"] == hashlib.sha256(data).hexdigest()
    assert made["sha256"] == hashlib.sha256(encoded(BOTH, "PNG")).hexdigest()
    assert (made["width"], made["height"], made["format"], made["bit_depth"]) == (320, 160, "png", 8)
    assert (made["face_count"], len(made["faces"])) == (2, 2)
    assert (made["weights_digest"], made["settings_digest"]) == (
        this_job.weights_digest,
        this_job.settings.digest(),
    )
    assert made["seconds_detect"] > 0 and made["seconds_restore"] == 0.5 and made["seconds_compose"] > 0
    assert (made["error_type"], made["error"]) == (None, None)


def test_faces_change_and_nothing_else(this_job: Job, found: Callable[..., Row]) -> None:
    (made,) = composed(this_job, found("both.png", BOTH, "PNG"))
    after = decoded(Path(made["restored_uri"]).read_bytes())
    changed = np.abs(after.astype(int) - BOTH).max(axis=2) > 0
    inside = np.zeros_like(changed)
    for n, face in enumerate(made["faces"]):
        assert face["face_index"] == n
        x0, y0, x1, y1 = (round(edge) for edge in face["box"])
        margin = x1 - x0  # the mask's ellipse reaches beyond the box, less than once its width
        inside[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin] = True
        eyes = np.array(face["landmarks"])[:2]
        assert face["eye_distance"] == pytest.approx(np.linalg.norm(eyes[1] - eyes[0]), rel=1e-5)
        x, y = eyes.mean(axis=0).round().astype(int)
        np.testing.assert_array_equal(after[y, x], [128, 128, 128])
        assert face["psnr"] > 0 and -1 <= face["ssim"] < 1 and face["sharpness_after"] == 0 and face["needs_review"]
    assert changed.any() and not (changed & ~inside).any()


def weakened(made: Row, *strengths: float) -> Row:
    faces = [{**one, "strength": share} for one, share in zip(made["faces"], strengths, strict=True)]
    return {**made, "faces": faces}


def test_the_strength_of_a_face_is_its_share_in_the_photo_and_in_the_record(
    this_job: Job, found: Callable[..., Row]
) -> None:
    whole = found("both.png", BOTH, "PNG")
    rows = composed(this_job, weakened(whole, 0.0, 0.5), weakened(whole, 0.0, 0.0) | {"photo_id": "none", "page": 2})
    made, untouched = sorted(rows, key=lambda one: one["page"])
    after, same = (Path(one["restored_uri"]).read_bytes() for one in (made, untouched))

    np.testing.assert_array_equal(decoded(same), BOTH)  # to the bit
    assert (untouched["face_count"], [one["psnr"] for one in untouched["faces"]]) == (0, [None, None])
    assert b"DigitalSourceType" not in same and b"<interlcm:RestoredFaces>0<" in same
    assert (made["face_count"], [one["strength"] for one in made["faces"]]) == (1, [0.0, 0.5])
    assert b"compositeWithTrained" in after and b"<interlcm:FaceStrengths>0.5<" in after
    weak, half = made["faces"]
    x, y = np.mean(np.array(weak["landmarks"])[:2], axis=0).round().astype(int)
    np.testing.assert_array_equal(decoded(after)[y, x], BOTH[y, x])
    x, y = np.mean(np.array(half["landmarks"])[:2], axis=0).round().astype(int)
    np.testing.assert_allclose(decoded(after)[y, x], (BOTH[y, x].astype(float) + 128) / 2, atol=1)
    (full,) = composed(this_job, whole | {"photo_id": "full", "page": 3})
    # Half the difference is 6 dB less.
    assert half["psnr"] - full["faces"][1]["psnr"] == pytest.approx(20 * np.log10(2), abs=0.1)
    assert (weak["sharpness_after"], weak["delta_e"]) == (weak["sharpness_before"], 0)


def test_photos_together_give_what_each_alone_gives(
    this_job: Job, tmp_path: Path, tiny_weights: str, found: Callable[..., Row]
) -> None:
    rows = [
        found("both.jpg", BOTH),
        ended_row("gone.jpg"),
        found("coffee.jpg", coffee()),
        found("a.jpg", hopper()),
    ]
    together = composed(this_job, *rows)
    other = job(tmp_path / "other", tiny_weights)
    alone = [made for one in rows for made in composed(other, one)]
    own = ("finished_at", "seconds_compose", "restored_uri")
    for one, two in zip(sorted(together, key=by_member), sorted(alone, key=by_member), strict=True):
        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in two.items() if k not in own}
    assert len(list(Path(this_job.output, "manifest").iterdir())) == 1
    assert [made["status"] for made in together] == ["restored", "failed", "no_face", "restored"]
    assert [made["face_count"] for made in together] == [2, 0, 0, 1]


def by_member(made: Row) -> str:
    return str(made["member"])


def test_an_error_that_nobody_foresaw_costs_one_photo(this_job: Job, found: Callable[..., Row]) -> None:
    broken = found("broken.jpg", BOTH) | {"restored_crops": b"\x80" * 10}  # not as many bytes as two crops have
    lost = found("lost.jpg", hopper()) | {"data": b"other bytes than those that were decoded before"}
    rows = composed(this_job, found("a.jpg", hopper()), broken, lost, found("b.jpg", BOTH))
    assert [made["status"] for made in rows] == ["restored", "failed", "failed", "restored"]
    assert [made["error_type"] for made in rows] == [None, "ValueError", "not_an_image", None]
    assert [made["stage"] for made in rows] == [None, "publish", "publish", None]
    assert [made["node"] for made in rows] == [None, socket.gethostname(), socket.gethostname(), None]
    assert [bool(made["traceback"]) for made in rows] == [False, True, False, False]  # a sentence says it all
    assert "in crops_of" in rows[1]["traceback"] and rows[1]["traceback"].endswith(rows[1]["error"])
    assert all(made["faces"] == [] and made["restored_uri"] is None and made["face_count"] == 0 for made in rows[1:3])
    assert sorted(name for name, _ in storage.list_files(f"{this_job.output}/restored")) == [
        "a.tar/a.jpg.jpg",
        "a.tar/b.jpg.jpg",
    ]


def test_a_photo_is_published_before_its_row(this_job: Job, found: Callable[..., Row]) -> None:
    put(this_job.output, "manifest", b"a file where the folder should be")
    with pytest.raises(storage.StorageError, match="manifest"):
        publish(row.to_table([found("a.jpg", hopper())]), this_job)
    assert storage.list_files(f"{this_job.output}/restored")[0][0] == "a.tar/a.jpg.jpg"


def test_a_photo_that_cannot_be_published_has_no_row_that_says_so(this_job: Job, found: Callable[..., Row]) -> None:
    put(this_job.output, "restored", b"a file where the folder should be")
    (made,) = composed(this_job, found("a.jpg", hopper()))
    assert (made["status"], made["restored_uri"], made["face_count"]) == ("failed", None, 0)
    assert made["error_type"] == "StorageError" and "restored/a.tar/a.jpg.jpg" in made["error"]


def test_a_retry_overwrites_itself(this_job: Job, found: Callable[..., Row]) -> None:
    table = row.to_table([found("a.png", hopper(), "PNG"), ended_row("gone.jpg")])
    publish(table, this_job)
    first = storage.list_files(this_job.output)
    publish(table, this_job)
    assert [name for name, _ in storage.list_files(this_job.output)] == [name for name, _ in first]
    assert len(manifest(this_job)) == 2


@pytest.mark.parametrize(
    ("error", "writing", "stops"),
    [
        (ConnectionError("no route"), False, True),
        (OSError(errno.ENOSPC, "No space left on device"), True, True),
        (OSError(errno.EROFS, "Read-only file system"), True, True),
        (PermissionError(errno.EACCES, "Permission denied"), True, True),
        (FileNotFoundError(errno.ENOENT, "No such bucket"), True, True),
        (OSError(errno.ENAMETOOLONG, "File name too long"), True, False),
        (PermissionError(errno.EACCES, "Permission denied"), False, False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False, False),
    ],
)
def test_storage_in_trouble_stops_the_run_where_every_photo_would_meet_it(
    error: Exception, writing: bool, stops: bool
) -> None:
    """One rule for all stages: trouble with a member becomes its row, with OUTPUT or the server it stops the run."""

    def work(current: Row) -> Row:
        with storage_errors("/out/a.jpg", writing):
            raise error

    if stops:
        with pytest.raises(storage.StorageError):
            row.guarded({"status": None}, work)
    else:
        assert row.guarded({"status": None}, work)["status"] == "failed"
