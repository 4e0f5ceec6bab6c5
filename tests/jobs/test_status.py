from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import jobs.status
from jobs.status import equation
from jobs.times import in_words
from pipeline import storage
from pipeline.cluster.demand import Demand
from pipeline.manifest.counts import Counts, counts
from pipeline.manifest.write import write_part
from pipeline.run import lease
from pipeline.run.holder import Holder
from pipeline.run.status import Status, read_status
from pipeline.run.waiting import Facts, Waiting
from tests.support.command import interlcm
from tests.support.rows import face, index_row, result_row, write_index

EQUATION = ["indexed", "=", "restored", "+", "no_face", "+", "skipped", "+", "failed", "+", "pending"]


@pytest.fixture
def output(tmp_path: Path) -> str:
    uri = str(tmp_path / "out")
    write_index(uri, [index_row(f"{n}.jpg") for n in range(12)])
    write_part([result_row(f"{n}.jpg", face_count=2, faces=[face(0), face(1)]) for n in range(5)], uri, "1")
    write_part([result_row("5.jpg", "no_face"), result_row("6.jpg", "skipped")], uri, "1")
    failures = [("7", "truncated"), ("8", "empty_file"), ("9", "truncated")]
    write_part([result_row(f"{n}.jpg", "failed", error_type=kind) for n, kind in failures], uri, "1")
    return uri


def test_status_prints_the_equation_and_its_numbers(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("status", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == EQUATION
    assert lines[1].split() == ["12", "=", "5", "+", "1", "+", "1", "+", "3", "+", "2"]
    assert len(lines[0]) == len(lines[1])
    assert lines[2] == "faces restored: 10"
    assert lines[3:5] == ["failed: 2 truncated, 1 empty_file", f"  which: interlcm query {output} --failures"]
    assert lines[-1] == "pending: start the same interlcm restore again to continue"


def test_a_complete_run_needs_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_index(str(tmp_path), [index_row("a.jpg")])
    write_part([result_row("a.jpg")], str(tmp_path), "1")
    assert interlcm("status", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "faces restored: 0",
        f"complete; next: interlcm report {tmp_path}",
    ]


def test_warnings_are_counted_by_kind_and_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path)
    write_index(output, [index_row(f"{n}.jpg") for n in range(4)])
    lost, dropped = {"kind": "rows_lost", "words": "38 %"}, {"kind": "not_carried", "words": "a path"}
    found = [[lost, dropped, dropped], [dropped], [], None]
    write_part([result_row(f"{n}.jpg", warnings=one) for n, one in enumerate(found)], output, "1")
    assert interlcm("status", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == ["warnings: 2 not_carried, 1 rows_lost", f"  which: interlcm query {output} --warnings"]


def test_numbers_that_do_not_add_up_are_an_error(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_index(output, [index_row("5.jpg")], name="again")  # one photo in two files of the index
    assert not counts(output).adds_up
    assert interlcm("status", output) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:3] == ["13", "!=", "5"]
    assert "do not add up" in captured.err.splitlines()[-1]


def test_the_equation_stays_aligned_with_large_numbers() -> None:
    names, numbers = equation(Counts(10**9, 10**9 - 3, 1, 1, 1, 0, faces=0, failures={}, lost={})).splitlines()
    assert [names.index(sign) for sign in "=+"] == [numbers.index(sign) for sign in "=+"]
    assert len(names) == len(numbers)


@pytest.mark.parametrize(("ago", "works"), [(0, True), (100, True), (300, False)])
def test_a_run_at_work_elsewhere_is_not_started_again(
    output: str, ago: float, works: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run has no results yet; only its lease shows it."""
    holder = Holder("x", "another-host", 7, "", "2026-01-01T00:00:00+00:00")
    renewed = datetime.now(UTC) - timedelta(seconds=ago)
    fields = asdict(holder) | {"renewed_at": renewed.isoformat()}
    storage.write_bytes(storage.join(output, "run.lock.json"), json.dumps(fields).encode())
    assert interlcm("status", output) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == (
        "pending: process 7 on another-host, since 2026-01-01T00:00:00+00:00 works on it"
        if works
        else "pending: start the same interlcm restore again to continue"
    )


def test_watch_ends_when_nothing_is_pending(
    output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is done after the second look."""
    rest = [result_row(f"{n}.jpg") for n in (10, 11)]
    looks_taken = 0

    def read_and_go_on(uri: str) -> Status:
        nonlocal looks_taken
        found = read_status(uri)
        looks_taken += 1
        if looks_taken == 2:
            write_part(rest, output, "2")
        return found

    monkeypatch.setattr(jobs.status, "read_status", read_and_go_on)
    assert interlcm("status", output, "--watch", "--every", "0.1") == 0
    lines = capsys.readouterr().out.splitlines()
    looks = [line for line in lines if re.match(r"\d{4}-", line)]
    assert ["10/12 files, 10 faces, 3 failed" in look for look in looks] == [True, True, False]
    assert "12/12 files, 10 faces, 3 failed" in looks[-1]
    assert lines[len(looks)].split() == EQUATION  # then the whole status, once
    assert "\x1b" not in "".join(lines)


def test_watch_rewrites_a_terminal_and_ctrl_c_ends_it(output: str) -> None:
    """On a pseudo terminal, as a user has it."""
    process, screen = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm"
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it
        os.execv(sys.executable, [sys.executable, "-m", "jobs", "status", output, "--watch", "--every", "0.1"])
    shown, end = b"", time.monotonic() + 600
    while shown.count(b"pending: start the same") < 3:
        assert time.monotonic() < end, shown
        shown += os.read(screen, 65536)
    os.write(screen, b"\x03")
    with contextlib.suppress(OSError):  # how Linux reports that the other end is closed
        while data := os.read(screen, 65536):
            shown += data
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"\x1b[1A" in shown  # cursor up: the lines change in place
    assert b"Traceback" not in shown


def test_a_damaged_run_json_is_one_line(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"{", b"[]", b'{"attempts": []}', b'{"attempts": [{"started_at": "yesterday"}]}', b"\xff"):
        storage.write_bytes(storage.join(output, "run.json"), content)
        assert interlcm("status", output) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{output}/run.json: damaged" in line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (12000, "3 h 20 min"),
        (86400 * 4 + 7 * 3600, "4 d 7 h"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_no_run_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("status", str(tmp_path / "nowhere")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "no run there" in captured.err


def test_status_for_programs(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert interlcm("status", output, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["indexed"], found["restored"], found["pending"], found["adds_up"]) == (12, 5, 2, True)
    assert found["failures"] == {"truncated": 2, "empty_file": 1}
    assert found["seconds_left"] is None


def test_what_a_run_waits_for_is_in_its_status(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = Facts(
        demand=Demand(waiting=[({"GPU": 1.0}, 1)], nodes=1, most={"CPU": 4.0}, total={"CPU": 4.0}), on_ray=True
    )
    with lease.held(output) as mine:
        mine.note(Waiting(20, facts).lines)
        mine.renew()  # as its thread does every ten seconds
        assert interlcm("status", output) == 0
        assert capsys.readouterr().out.splitlines()[-3:] == [
            f"pending: {mine._holder} works on it",
            "  waiting: no photo for 20 s; nodes: 1 up with 4 CPU; no room for 1 x 1 GPU",
            "  waiting in vain: no node has 1 GPU, and none is on its way",
        ]
        assert interlcm("status", output, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)["waiting"]) == 2


def test_why_a_photo_failed(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = result_row("box/10.jpg", "failed", error_type="ValueError", error="ValueError: no", attempt=2)
    failed |= {"stage": "detect", "node": "worker-7", "traceback": "Traceback\n  File x\nValueError: no"}
    write_index(output, [index_row(name) for name in ("box/10.jpg", "other/10.jpg", "o'hara.jpg")], name="b")
    write_part([failed], output, "2")
    write_part([result_row("box/10.jpg", "no_face", attempt=1)], output, "1b")
    aside = result_row("o.jpg", "withdrawn", restored_uri="/old/restored/a.tar/o.jpg.jpg", reviewed_by="Anna")
    aside |= {"reviewed_as": "reject", "reviewed_at": datetime(2026, 1, 2, tzinfo=UTC)}
    write_part([aside | {"warnings": [{"kind": "large_face", "words": "wide"}]}], output, "3")
    write_index(output, [index_row("o.jpg")], name="c")
    assert interlcm("status", output, "--why", "o.jpg") == 0
    assert capsys.readouterr().out.splitlines()[2:6] == [
        "    2026-01-01 00:00:00 UTC",
        "    decided by Anna, 2026-01-02 00:00:00 UTC: reject",
        "    warning: large_face: wide",
        f"    {output}/restored/a.tar/o.jpg.jpg",  # where it is now
    ]
    assert interlcm("status", output, "--why", "box/10.jpg") == 0
    assert capsys.readouterr().out.splitlines() == [
        "id-box/10.jpg  a.tar  box/10.jpg",
        "  failed: ValueError: ValueError: no",
        "    2026-01-01 00:00:00 UTC, stage detect, node worker-7, attempt 2",
        "    | Traceback",
        "    |   File x",
        "    | ValueError: no",
        "    log: the lines with id-box/10.jpg in worker-*.err on worker-7, if it ran on Ray",
        "  before: no_face",
        "    2026-01-01 00:00:00 UTC, attempt 1",
        f"  again: interlcm restore ... --output {output} --where \"photo_id = 'id-box/10.jpg'\"",
    ]
    assert interlcm("status", output, "--why", "id-box/10.jpg-p2") == 0  # a page of it
    assert "stage detect" in capsys.readouterr().out
    assert interlcm("status", output, "--why", "10.jpg", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["member"], len(one["rows"])) for one in found] == [
        ("10.jpg", 0),
        ("box/10.jpg", 2),
        ("other/10.jpg", 0),
    ]
    assert interlcm("status", output, "--why", "o'hara.jpg") == 0
    assert "pending: it has no result yet" in capsys.readouterr().out
    assert interlcm("status", output, "--why", "nobody.jpg") == 2
    assert "no such photo in the index" in capsys.readouterr().err
    assert interlcm("status", output, "--why", "") == 2  # an unset variable of the shell
    assert "no such photo in the index" in capsys.readouterr().err
