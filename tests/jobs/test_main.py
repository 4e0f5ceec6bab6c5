"""Broken surroundings, of every command: one line on stderr, exit 1 or 2, never a traceback. Usage is in test_usage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from pipeline.storage.client import environment
from tests.support.archives import index_sources, put, tar_bytes
from tests.support.ceph import CephGateway, free_port
from tests.support.command import Interlcm
from tests.support.pictures import coffee, encoded, hopper
from tests.support.rows import pending_rows, result_row


def test_more_gpus_than_there_are(source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    words = ["--weights", tiny_weights, "--gpus-per-actor", "1000"]
    assert interlcm("restore", source, "--output", str(tmp_path / "out"), *words) == 2
    assert "give 0 to use the CPU" in interlcm.line()


def test_a_missing_source(tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    missing = str(tmp_path / "missing.tar")
    assert interlcm("index", missing, "--output", str(tmp_path / "out")) == 1
    assert interlcm.line() == f"{missing}: no such file or folder; check the name"
    assert interlcm("restore", missing, "--output", str(tmp_path / "out"), "--weights", tiny_weights) == 1
    assert interlcm.line() == f"{missing}: no such file or folder; check the name"
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_read(source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    start = ["restore", source, "--output", str(tmp_path / "out"), "--weights"]
    assert interlcm(*start, str(tmp_path / "nowhere")) == 1
    assert "nowhere: no such file or folder" in interlcm.line()
    (tmp_path / "empty").mkdir()
    assert interlcm(*start, str(tmp_path / "empty")) == 1
    assert "empty/model_index.json cannot be read" in interlcm.line()
    assert interlcm(*start, source) == 1
    assert "not a folder" in interlcm.line()
    damaged = tmp_path / "damaged"
    for path in Path(tiny_weights).rglob("*"):
        if path.is_file():
            put(str(damaged), str(path.relative_to(tiny_weights)), path.read_bytes())
    put(str(damaged), "visual_encoder/3step.safetensors", b"damaged")
    assert interlcm(*start, str(damaged)) == 1
    assert "visual_encoder/3step.safetensors" in interlcm.line()
    assert not (tmp_path / "out").exists()


def test_a_detector_without_its_weights(source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    words = ["--weights", tiny_weights, "--detector", "retinaface_resnet50"]
    assert interlcm("restore", source, "--output", str(tmp_path / "out"), *words) == 1
    assert "detection_Resnet50_Final.pth" in interlcm.line()


def test_steps_that_a_variant_is_not_made_for(source: str, tmp_path: Path, interlcm: Interlcm) -> None:
    import json

    from tests.support.tiny import weights_folder

    folder = tmp_path / "weights"
    weights_folder(folder)
    start = ["restore", source, "--output", str(tmp_path / "out"), "--weights", str(folder)]
    index = json.loads((folder / "model_index.json").read_text())
    index["variants"]["3step"]["steps"] = [2]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert interlcm(*start, "--steps", "4") == 1
    assert interlcm.line() == "--steps 4: the weights for restore support only 2"
    index["variants"] = {"1step": index["variants"]["3step"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert interlcm(*start) == 1
    assert "visual_encoder/1step.safetensors is missing" in interlcm.line()


def test_a_whole_photo_is_colorized_where_the_faces_are_asked_for(
    source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm
) -> None:
    start = ["restore", source, "--output", str(tmp_path / "out"), "--weights", tiny_weights, "--task", "colorize"]
    assert interlcm(*start) == 2
    assert "--faces-only" in interlcm.err and "--aligned" in interlcm.err
    for flag in ("--faces-only", "--aligned"):
        assert interlcm(*start, flag) == 1  # further on
        assert interlcm.line().startswith(f"--task colorize: {tiny_weights} supports only restore")


def test_no_such_bucket(s3: CephGateway, tmp_path: Path, source: str, tiny_weights: str, interlcm: Interlcm) -> None:
    weights = ["--weights", tiny_weights]
    assert interlcm("restore", "s3://no-such-bucket-1/a.tar", "--output", str(tmp_path / "out"), *weights) == 1
    assert "no such bucket: no-such-bucket-1" in interlcm.line()
    assert interlcm("restore", source, "--output", "s3://no-such-bucket-2/out", *weights) == 1
    assert "no such bucket: no-such-bucket-2" in interlcm.line()
    assert interlcm("restore", source, "--output", str(tmp_path / "out"), "--weights", "s3://no-such-bucket-3/w") == 1
    assert "no such bucket: no-such-bucket-3" in interlcm.line()
    assert interlcm("status", "s3://no-such-bucket-4/out") == 1
    assert "no-such-bucket-4" in interlcm.line()


def test_no_such_server(
    tmp_path: Path,
    fresh_clients: None,
    monkeypatch: pytest.MonkeyPatch,
    interlcm: Interlcm,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-to-keep")
    assert interlcm("index", "s3://bucket/a.tar", "--output", str(tmp_path / "out")) == 1
    assert "the server cannot be reached" in interlcm.line() and "AWS_ENDPOINT_URL" in interlcm.line()
    assert "a-secret-to-keep" not in interlcm.err


@pytest.mark.parametrize("command", [["restore", "SOURCE"], ["demo"]])
def test_an_output_that_is_a_file(command: list[str], source: str, tmp_path: Path, interlcm: Interlcm) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert interlcm(*[source if word == "SOURCE" else word for word in command], "--output", str(file)) == 1
    assert "a part of this path is a file, not a folder" in interlcm.line()
    assert file.read_text() == "mine"


def test_an_unknown_protocol(tmp_path: Path, interlcm: Interlcm) -> None:
    assert interlcm("index", "nfs5://server/a.tar", "--output", str(tmp_path / "out")) == 1
    assert "unknown protocol nfs5://" in interlcm.line()


def test_a_dry_run_measures_a_sample_and_writes_the_index_alone(
    source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2026-01-01T00:00:00Z")
    photos = {f"{n}.jpg": encoded(hopper(96) if n % 2 else coffee(96)) for n in range(40)}
    put(str(tmp_path), "scans.tar", tar_bytes(photos))
    output = tmp_path / "out"
    words = ["restore", str(tmp_path / "scans.tar"), "--output", str(output), "--weights", tiny_weights]
    assert interlcm(*words, "--price-per-hour", "gpu=0.8") == 2
    assert interlcm.line().startswith("--price-per-hour is for --dry-run: give both")
    assert interlcm(*words, "--dry-run", "--price-per-hour", "gpu=0.8", "--price-per-hour", "cpu=3600") == 0
    lines = interlcm.out.splitlines()[-7:]
    assert lines[0].startswith("dry run: 40 files to restore, 0.")
    (faces,) = re.findall(r"sample: 32 files, (\d+) faces", lines[1])
    assert 14 <= int(faces) <= 18  # half of the photos have one
    assert re.fullmatch(r"restore: about (1[6-9]|2[0-4]) faces, .* of an actor, on the CPU", lines[2])
    assert re.fullmatch(r"with 1 actor: about .+, and [\d.]+ CPUs for the rest", lines[4])
    (gpus, cpus) = re.findall(r"cost: about [\d.,]+ \(GPUs ([\d.]+), CPUs ([\d.]+)\)", lines[5])[0]
    assert float(gpus) == 0 < float(cpus)
    assert lines[6].startswith("note: the AWS session ends at ") and "before this run" in lines[6]
    assert {path.name for path in output.iterdir()} == {"index"}


def test_no_credentials_are_sent_in_the_whole_run(
    source: str, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    seen = []

    def look(request: object) -> int:
        seen.append("AWS_ACCESS_KEY_ID" in environment())
        return 0

    monkeypatch.setattr("jobs.run.run", look)
    assert interlcm("restore", source, "--output", "out", "--no-credentials") == 0
    assert interlcm("restore", source, "--output", "out") == 0
    assert seen == [False, True]


def test_ctrl_c_says_how_to_go_on(source: str, interlcm: Interlcm, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.run.run", interrupt)
    assert interlcm("restore", source, "--output", "out") == 130
    assert interlcm.line() == "interrupted; start the same command again to continue"


def test_a_condition_that_makes_no_sense(source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    words = ["--weights", tiny_weights, "--where", "no_such_column = 1"]
    assert interlcm("restore", source, "--output", str(tmp_path / "out"), *words) == 2
    assert interlcm.line().startswith("--where: ")
    assert "no_such_column" in interlcm.line()
    assert not (tmp_path / "out").exists()


def test_strict_tells_that_photos_failed(source: str, tmp_path: Path, tiny_weights: str, interlcm: Interlcm) -> None:
    output = str(tmp_path / "out")
    index_sources([source], output)
    rows = pending_rows(output).to_pylist()
    results = [result_row("", status, photo_id=row["photo_id"], source=row["source"])
               for row, status in zip(rows, ("failed", "skipped"), strict=True)]  # fmt: skip
    write_part(results, output, "1")
    start = ["restore", source, "--output", output, "--weights", tiny_weights]
    assert interlcm(*start) == 0
    assert interlcm.err == ""
    assert interlcm(*start, "--strict") == 3
    assert "nothing to do: every selected photo has a result" in interlcm.out
    write_part([result | {"status": "skipped", "finished_at": rows_later(result)} for result in results], output, "2")
    assert interlcm(*start, "--strict") == 0
    assert counts(output).failed == 0


def rows_later(result: dict[str, object]) -> object:
    from datetime import datetime, timedelta

    finished = result["finished_at"]
    assert isinstance(finished, datetime)
    return finished + timedelta(minutes=1)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_below_the_output_is_one_line(buffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jobs", "export", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    words = "interlcm: what it prints cannot be written (No space left on device); make room, or send it elsewhere\n"
    assert (done.returncode, done.stderr) == (1, words)


def test_a_process_of_its_own_says_one_line(tmp_path: Path) -> None:
    """Only this test shows what Ray's core and libraries write past Python's streams."""
    command = [
        sys.executable,
        "-m",
        "jobs",
        "index",
        str(tmp_path / "missing.tar"),
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith("waiting: ")] == []  # on a busy machine
    assert done.stderr == f"interlcm: {tmp_path}/missing.tar: no such file or folder; check the name\n"


def test_a_dead_cluster_is_one_line(
    interlcm: Interlcm, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's cluster may still be there
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    assert interlcm("index", source, "--output", str(tmp_path / "out")) == 1
    assert interlcm.line().startswith("RAY_ADDRESS=127.0.0.1:")
    assert not (tmp_path / "out").exists()
