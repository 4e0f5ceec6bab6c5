from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import storage
from pipeline.manifest import query
from pipeline.manifest.compaction import compact
from pipeline.manifest.schema import STATUSES
from pipeline.manifest.write import write_part
from pipeline.report import files as report_files
from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from pipeline.report.files import DataFiles, Parts
from pipeline.report.summary import Price, histogram, wall_seconds
from pipeline.run.decide import settle
from pipeline.run.verdicts import judged
from pipeline.storage import client as storage_client
from tests.support import many_photos
from tests.support.ceph import CephGateway
from tests.support.decided_run import WHOLE, write_decided_run
from tests.support.report_files import column, received
from tests.support.review_run import HOSTILE, WARNED, write_run
from tests.support.rows import index_row, result_row, write_index

NO_PICTURES = Pictures("none", 4096, {})


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


def test_the_page_gets_every_photo_and_face(reviewed: str) -> None:
    written = write_report(reviewed, NO_PICTURES)
    report = f"{reviewed}/report"
    assert (written.page, written.photos, written.to_review) == (f"{report}/index.html", 7, 1)
    about = received(report, "summary")
    rows = [dict(zip(about["photo_fields"], row, strict=True)) for row in received(report, "photos-0")]
    assert [row["member"] for row in rows][:3] == ["box1/astronaut.jpg", "box1/hopper.jpg", "box2/pair.png"]
    assert about["counts"]["adds_up"]
    pair = [dict(zip(about["face_fields"], face, strict=True)) for face in rows[2]["faces"]]
    assert [face["psnr"] for face in pair] == [31.0, 16.0]
    assert [face["needs_review"] for face in pair] == [False, True]
    assert column(report, "photo-face_count") == [1, 1, 2, 1, 0, 0, 0]
    assert column(report, "face-psnr") == pytest.approx([31, 32.4, 31, 16, 27.5])
    assert rows[2]["warnings"] == [{"kind": "not_carried", "words": WARNED}] and rows[0]["warnings"] is None
    assert column(report, "photo-warning_count") == [0, 0, 1, 0, 0, 0, 0]
    assert received(report, "names-0") == [row["member"] for row in rows]
    assert received(report, "ids-0") == [row["photo_id"] for row in rows]
    names = {metric["name"] for metric in about["metrics"]}
    assert {"psnr", "face_count", "seconds"} <= names
    assert "identity_similarity" not in names  # missing without weights


def test_decisions_come_with_the_report(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    (photo_id, *_) = received_ids(output)
    rows = f"{photo_id},,accept,fine,2026-01-02T00:00:00Z\r\n{photo_id},0,,,2026-01-02T00:00:01Z\r\n"
    text = f"photo_id,face_index,decision,comment,decided_at\r\n{rows}"
    storage.write_bytes(f"{output}/decisions/ada.csv", text.encode())
    write_report(output, NO_PICTURES)
    about = received(f"{output}/report", "summary")
    found = [
        dict(zip(about["decision_fields"], row, strict=True)) for row in received(f"{output}/report", "decisions-0")
    ]
    assert about["decision_files"] == 1
    assert [(row["face_index"], row["decision"], row["comment"]) for row in found] == [
        (None, "accept", "fine"),
        (0, None, ""),
    ]
    assert found[0]["decided_at"] == "2026-01-02T00:00:00+00:00"


def test_data_of_an_earlier_report_that_had_more_goes(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    data = Path(output, "report", "data")
    data.mkdir(parents=True)
    (data / "decisions-0.js").write_text("of an earlier report")
    write_report(output, NO_PICTURES)
    assert "photos-0.js" in {file.name for file in data.iterdir()} and not (data / "decisions-0.js").exists()


def test_a_result_that_follows_decisions_is_the_one_that_was_judged(tmp_path: Path) -> None:
    output = write_decided_run(tmp_path, WHOLE)
    before = dict(zip(received_ids(output), received(f"{output}/report", "versions-0"), strict=True))
    assert sum(settle(output, judged(output))) == 3
    ids = received_ids(output)
    statuses = [STATUSES[int(code)] for code in column(f"{output}/report", "photo-status")]
    assert statuses.count("withdrawn") == 1
    assert dict(zip(ids, received(f"{output}/report", "versions-0"), strict=True)) == before
    about = received(f"{output}/report", "summary")
    rows = [dict(zip(about["photo_fields"], row, strict=True)) for row in received(f"{output}/report", "photos-0")]
    assert [row["versions"] for row in rows] == [before[row["photo_id"]] for row in rows]


def received_ids(output: str) -> list[str]:
    write_report(output, NO_PICTURES)
    return list(received(f"{output}/report", "ids-0"))


def test_the_digest_names_the_results(reviewed: str) -> None:
    write_report(reviewed, NO_PICTURES)
    about = received(f"{reviewed}/report", "summary")
    rows = [dict(zip(about["photo_fields"], row, strict=True)) for row in received(f"{reviewed}/report", "photos-0")]
    lines = "".join(f"{row['photo_id']} {row['restored_sha256'] or ''}\n" for row in rows)
    assert about["digest"] == hashlib.sha256(lines.encode()).hexdigest()
    assert received(f"{reviewed}/report", "versions-0") == [(row["restored_sha256"] or "")[:8] for row in rows]


def test_links_to_restored_files_stay_below_the_run(reviewed: str) -> None:
    write_report(reviewed, NO_PICTURES)
    about = received(f"{reviewed}/report", "summary")
    links = [row[about["photo_fields"].index("restored")] for row in received(f"{reviewed}/report", "photos-0")]
    assert links[0] == "../restored/scans.tar/box1/astronaut.jpg.png"
    assert "<" not in links[3]
    assert "%3Cimg" in links[3]
    assert HOSTILE in received(f"{reviewed}/report", "names-0")


def test_only_the_newest_row_of_a_photo_is_shown(tmp_path: Path) -> None:
    output = str(tmp_path)
    write_index(output, [index_row("a.jpg")])
    write_part([result_row("a.jpg", "failed", error_type="too_slow")], output, "1")
    write_part([result_row("a.jpg", "no_face", minute=1)], output, "2")
    assert write_report(output, NO_PICTURES).photos == 1
    assert column(f"{output}/report", "photo-status") == [1]


def test_parts_may_be_merged_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(9)])
    for n in range(9):
        write_part([result_row(f"{n}.jpg", "no_face")], output, "1")
    connect = query.connect

    def and_merged(*arguments: Any) -> Any:
        connection = connect(*arguments)
        compact(output)
        return connection

    monkeypatch.setattr(query, "connect", and_merged)
    assert write_report(output, NO_PICTURES).photos == 9
    assert len(received(f"{output}/report", "names-0")) == 9


def test_pages_of_a_tiff_are_photos_of_their_own(tmp_path: Path) -> None:
    output = str(tmp_path)
    write_index(output, [index_row("a.tif")])
    further = result_row("a.tif", "no_face", page=2, pages=2) | {"photo_id": "id-a.tif-p2"}
    write_part([result_row("a.tif", "no_face", page=1, pages=2), further], output, "1")
    write_report(output, NO_PICTURES)
    assert received(f"{output}/report", "ids-0") == ["id-a.tif", "id-a.tif-p2"]


def test_a_run_without_a_result_still_has_a_report(tmp_path: Path) -> None:
    write_index(str(tmp_path), [index_row("a.jpg")])
    assert write_report(str(tmp_path), NO_PICTURES).photos == 0
    about = received(tmp_path / "report", "summary")
    assert (about["counts"]["pending"], about["plots"]) == (1, [])


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError, match="no run there"):
        write_report(str(tmp_path / "nowhere"), NO_PICTURES)


def test_data_files_are_cut_by_number_and_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "CHUNK_BYTES", 40)
    parts = Parts(DataFiles(str(tmp_path)), "names", most=3)
    parts.extend(["a", "b", "c", "d", "é" * 30, "e"])
    parts.close()
    assert parts.starts == [0, 3, 4, 5]
    assert received(tmp_path, "names-2") == ["é" * 30]


def test_long_columns_have_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "COLUMN_VALUES", 2)
    assert DataFiles(str(tmp_path)).write_column("psnr", np.array([1, 2, np.nan, 4, 5])) == 3
    assert column(str(tmp_path), "psnr", files=3) == pytest.approx([1, 2, np.nan, 4, 5], nan_ok=True)


def test_work_is_counted_from_each_start_to_the_last_row_before_the_next() -> None:
    starts = [{"started_at": f"1970-01-01T00:00:{second:02d}+00:00"} for second in (0, 30)]
    assert wall_seconds(np.array([5.0, 10.0, 40.0, 45.0]), starts) == 10 + 15
    assert wall_seconds(np.array([5.0]), []) == 0


def test_the_price_of_a_thousand_photos(reviewed: str) -> None:
    write_report(reviewed, NO_PICTURES, Price(6.0, "EUR"))
    cost = received(f"{reviewed}/report", "summary")["cost"]
    assert cost == {"per_1000": pytest.approx(100), "per_hour": 6.0, "currency": "EUR"}  # 6 photos in 6 of 60 minutes


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_histogram_loses_no_value(logarithmic: bool) -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 1000)
    plot = histogram("psnr", {"": np.append(values, np.nan)}, logarithmic)
    assert plot is not None
    assert sum(plot["series"][0]["counts"]) == 1000
    assert len(plot["edges"]) == len(plot["series"][0]["counts"]) + 1


def test_a_histogram_of_one_value_or_none() -> None:
    same = histogram("psnr", {"": np.full(9, 3.0)})
    assert same is not None
    assert sum(same["series"][0]["counts"]) == 9
    assert histogram("psnr", {"": np.full(3, np.nan)}) is None


def test_on_s3_files_say_what_they_are(bucket: str, s3: CephGateway, fresh_clients: None) -> None:
    output = f"{bucket}/out"
    write_index(output, [index_row("a.jpg")])
    page = write_report(output, NO_PICTURES).page
    kinds = {}
    for name in ("index.html", "theme.css", "app.js", "data/summary.js"):
        fs, path = storage_client.filesystem(page.replace("index.html", name))
        kinds[name] = fs.info(path)["ContentType"].partition(";")[0]
    assert kinds["index.html"] == "text/html"
    assert kinds["theme.css"] == "text/css"
    assert kinds["app.js"] == kinds["data/summary.js"] in ("text/javascript", "application/javascript")


def test_no_file_of_a_large_report_is_large(tmp_path: Path) -> None:
    many_photos.write_run(str(tmp_path), 2500)
    assert write_report(str(tmp_path), NO_PICTURES).photos == 2500
    about = received(tmp_path / "report", "summary")
    assert about["pages"] == [0, 1000, 2000]
    assert len(column(f"{tmp_path}/report", "face-psnr")) == about["faces"] == about["counts"]["faces"]


@pytest.mark.slow
def test_no_file_of_a_report_on_100000_photos_is_over_5_mb(tmp_path: Path) -> None:
    many_photos.write_run(str(tmp_path), 100_000)
    assert write_report(str(tmp_path), NO_PICTURES).photos == 100_000
    assert max(file.stat().st_size for file in (tmp_path / "report").rglob("*") if file.is_file()) < 5e6
