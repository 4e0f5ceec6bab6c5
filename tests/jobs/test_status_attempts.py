"""What `interlcm status` says of a run's attempts: rate, time left, settings and weights of its results."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.manifest.pending import check_where, pending
from pipeline.manifest.write import write_part
from pipeline.run import lease
from pipeline.run.status import read_status
from tests.support.command import interlcm
from tests.support.rows import index_row, result_row, write_index


@pytest.fixture
def now() -> datetime:
    """The time when the test runs, not when its file was imported, which may be many tests earlier."""
    return datetime.now(UTC).replace(microsecond=0)


def run_json(output: str, *started: datetime) -> None:
    settings = {"weights": "demo"}
    attempts = [
        {"started_at": time.isoformat(), "settings": settings, "settings_digest": "0123456789abcdef"}
        for time in started
    ]
    storage.write_bytes(storage.join(output, "run.json"), json.dumps({"attempts": attempts}).encode())


def moving_run(output: str, last: datetime) -> None:
    """Twenty photos with two faces, one every ten seconds until `last`; sixty are pending."""
    write_index(output, [index_row(f"{n}.jpg") for n in range(80)])
    run_json(output, last - timedelta(days=1), last - timedelta(seconds=200))
    times = [last - timedelta(seconds=10 * n) for n in range(20)]
    write_part(
        [result_row(f"{n}.jpg", face_count=2) | {"finished_at": time} for n, time in enumerate(times)], output, "1"
    )


def test_a_moving_run_tells_its_rate_and_its_end(
    now: datetime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moving_run(str(tmp_path), now)
    with lease.held(str(tmp_path)):
        assert interlcm("status", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    started = f"{now - timedelta(seconds=200):%Y-%m-%d %H:%M:%S} UTC"
    assert lines[3] == f"attempt 2: started {started}, weights demo, settings 0123456789ab"
    assert lines[4] == "rate: 6.0 files/min, 0.20 faces/s"  # 20 photos, 40 faces in 200 s
    assert lines[5].startswith("pending: about 10 min left, until ")


def test_after_ctrl_c_no_end_is_promised(now: datetime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving_run(str(tmp_path), now)
    assert interlcm("status", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "pending: start the same interlcm restore again to continue"


def test_a_run_that_stands_has_no_end(now: datetime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = now - timedelta(hours=3)
    moving_run(str(tmp_path), last)
    assert interlcm("status", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == f"rate: 6.0 files/min, 0.20 faces/s, until {last:%Y-%m-%d %H:%M:%S} UTC"
    assert lines[5] == "pending: start the same interlcm restore again to continue"


def test_an_attempt_without_results_has_no_rate(now: datetime, tmp_path: Path) -> None:
    output = str(tmp_path)
    moving_run(output, now - timedelta(seconds=60))
    run_json(output, now)
    found = read_status(output)
    assert (found.photos_per_minute, found.faces_per_second, found.remaining) == (0, 0, None)
    assert found.attempt is not None and found.attempt.number == 1


def test_only_the_last_minutes_count(now: datetime, tmp_path: Path) -> None:
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(100)])
    run_json(output, now - timedelta(hours=2))
    slow = [result_row(f"{n}.jpg") | {"finished_at": now - timedelta(minutes=100 - n)} for n in range(50)]
    fast = [result_row(f"{n}.jpg") | {"finished_at": now - timedelta(seconds=n - 50)} for n in range(50, 80)]
    write_part(slow + fast, output, "1")
    assert read_status(output).photos_per_minute == pytest.approx(30 / 5)


def attempt_of(number: int, quality: int, weights: str) -> dict[str, Any]:
    settings = {"weights": "demo", "quality": quality, "limits": {"seconds": 60}}
    started = datetime(2026, 1, number, tzinfo=UTC).isoformat()
    digests = {"settings_digest": f"{quality:02}" * 32, "weights_digest": weights * 64}
    return {"number": number, "started_at": started, "settings": settings, **digests}


def test_what_made_the_results_is_said_if_it_was_not_the_last_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(6)])
    attempts = [attempt_of(1, 90, "a"), attempt_of(2, 95, "a"), attempt_of(3, 95, "b")]
    storage.write_bytes(storage.join(output, "run.json"), json.dumps({"attempts": attempts[:1]}).encode())
    made: list[dict[str, Any]] = [
        {"attempt": one["number"], **{key: one[key] for key in one if "digest" in key}} for one in attempts
    ]
    write_part([result_row(f"{n}.jpg", **made[0]) for n in range(3)], output, "1")
    assert interlcm("status", output) == 0
    assert "results of" not in capsys.readouterr().out

    storage.write_bytes(storage.join(output, "run.json"), json.dumps({"attempts": attempts}).encode())
    again = {**made[1], "minute": 1}
    write_part([result_row("0.jpg", **again), result_row("3.jpg", "no_face", **again)], output, "2")
    lost: dict[str, Any] = {"settings_digest": "c" * 64, "weights_digest": "d" * 64}
    write_part([result_row("4.jpg", **lost), result_row("5.jpg", "pending", attempt=2)], output, "old")
    assert interlcm("status", output) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("results of"))
    folder = "the content of the weights folder"
    last = "settings_digest <> '" + "95" * 32 + "' OR weights_digest <> '" + "b" * 64 + "'"
    assert lines[start : start + 5] == [
        "results of settings 959595959595, weights bbbbbbbbbbbb: 0 (as in the last attempt)",
        f"results of settings 909090909090, weights aaaaaaaaaaaa: 2 (quality 90 -> 95, {folder})",
        f"results of settings 959595959595, weights aaaaaaaaaaaa: 2 ({folder})",
        "results of settings cccccccccccc, weights dddddddddddd: 1 (not in run.json)",
        f'  to do the others again: interlcm restore SOURCE... --output {output} --where "{last}"',
    ]
    check_where(last)
    assert len(pending(output, last)) == 5  # all that have a result
    assert interlcm("status", output, "--json") == 0
    by = json.loads(capsys.readouterr().out)["made_by"]
    assert [one["results"] for one in by] == [0, 2, 2, 1] and [one["last"] for one in by] == [True] + [False] * 3
