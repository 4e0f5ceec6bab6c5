"""A whole run on local folders with Ray: everything that archives throw at it, accounted for."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from jobs import restore
from pipeline import storage
from pipeline.config.resources import Resources
from pipeline.config.settings import Settings
from pipeline.manifest import compaction, query
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.run import attempt as run_attempt
from pipeline.run import chain, lease, ledger, prepare
from tests.support.archives import index_sources, put, tar_bytes, zip_bytes
from tests.support.ceph import free_port
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper

pytestmark = pytest.mark.usefixtures("ray_cluster")

SECRET = "marker-of-a-secret-7f3a"
CUT = encoded(hopper())[:2000]


def hostile_tar() -> bytes:
    """Good photos between all that can be wrong with a member."""
    files = {
        "box/astronaut.jpg": encoded(astronaut()),
        "../../escape.jpg": encoded(hopper()),
        "box/broken.jpg": CUT,
        "box/empty.jpg": b"",
        "notes.txt": b"a text",
        "box/hopper.png": encoded(hopper(), "PNG"),
        "box/coffee.jpg": encoded(coffee()),
    }
    sink = io.BytesIO(tar_bytes(files))
    with tarfile.open(fileobj=sink, mode="a") as tar:
        for name, kind in (("box/folder", tarfile.DIRTYPE), ("box/link.jpg", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "astronaut.jpg" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info)
        again = tarfile.TarInfo("box/astronaut.jpg")
        again.size = len(files["box/hopper.png"])
        tar.addfile(again, io.BytesIO(files["box/hopper.png"]))
    return sink.getvalue()


EXPECTED = {
    ("scans.tar", "box/astronaut.jpg", "restored", None): 2,
    ("scans.tar", "../../escape.jpg", "failed", "unsafe_path"): 1,
    ("scans.tar", "box/broken.jpg", "failed", "truncated"): 1,
    ("scans.tar", "box/empty.jpg", "failed", "empty_file"): 1,
    ("scans.tar", "notes.txt", "skipped", "not_an_image"): 1,
    ("scans.tar", "box/hopper.png", "restored", None): 1,
    ("scans.tar", "box/coffee.jpg", "no_face", None): 1,
    ("scans.tar", "box/folder", "skipped", "not_a_file"): 1,
    ("scans.tar", "box/link.jpg", "skipped", "not_a_file"): 1,
    ("zip.tar", "a.jpg", "restored", None): 1,
    ("zip.tar", "a.png", "restored", None): 1,
    ("more.tar.gz", "./hopper.jpg", "restored", None): 1,
    ("more.tar.gz", "./late.jpg", "failed", "truncated"): 1,
    ("nothing.tar", "", "failed", "archive_truncated"): 1,
    ("loose", "2/astronaut.jpg", "restored", None): 1,
    ("loose", "late.jpg", "failed", "truncated"): 1,
}


@dataclass
class Done:
    """One start of the command: where it wrote, what it printed, how many photos it said failed."""

    output: Path
    sources: list[str]
    weights: str
    printed: str = ""
    failed: int = -1

    def start(self, where: str | None = None, actors: int = 1) -> Done:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            settings = Settings(weights=self.weights)
            failed = restore.run(
                restore.Request(self.sources, str(self.output), settings, (actors, actors), where=where)
            )
        return Done(self.output, self.sources, self.weights, text.getvalue(), failed)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with query.connect(str(self.output)) as connection:
            return query.run(connection, sql).to_pylist()

    def files(self, folder: str) -> set[str]:
        below = self.output / folder
        return {str(path.relative_to(below)) for path in below.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_weights: str, ray_cluster: None) -> Iterator[Done]:
    here = tmp_path_factory.mktemp("run")
    folder = str(here / "in")
    sources = [
        put(folder, "scans.tar", hostile_tar()),
        put(folder, "zip.tar", zip_bytes({"a.jpg": encoded(astronaut()), "a.png": encoded(hopper(), "PNG")})),
        put(folder, "more.tar.gz", tar_bytes({"./hopper.jpg": encoded(hopper()), "./late.jpg": CUT}, "w:gz")),
        put(folder, "nothing.tar", b""),
        folder + "/loose",
    ]
    put(folder, "loose/2/astronaut.jpg", encoded(astronaut()))
    put(folder, "loose/late.jpg", CUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield Done(here / "out", sources, tiny_weights).start(actors=2)


def test_every_member_has_its_row(done: Done) -> None:
    sql = "SELECT source, member, status, error_type, count(*) AS n FROM photos GROUP BY ALL"
    found = {(Path(r["source"]).name, r["member"], r["status"], r["error_type"]): r["n"] for r in done.rows(sql)}
    assert found == EXPECTED
    assert all("\n" not in row["error"] for row in done.rows("SELECT error FROM photos WHERE error IS NOT NULL"))


def test_it_adds_up(done: Done) -> None:
    found = counts(str(done.output))
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (17, 7, 1, 3, 6, 0)
    assert found.adds_up
    assert found.faces == 7
    assert done.failed == 6
    assert run_attempt.audit(str(done.output)) == found
    assert done.rows("SELECT count(*) AS n FROM index ANTI JOIN photos USING (photo_id)") == [{"n": 0}]
    assert done.rows("SELECT count(*) AS n, count(DISTINCT photo_id) AS ids FROM manifest") == [{"n": 17, "ids": 17}]


def test_restored_photos_are_where_they_belong(done: Done) -> None:
    names = {
        "scans.tar/box/astronaut.jpg.jpg",
        "scans.tar/box/hopper.png.png",
        "zip.tar/a.jpg.jpg",
        "zip.tar/a.png.png",
        "more.tar.gz/hopper.jpg.jpg",
        "loose/2/astronaut.jpg.jpg",
    }
    (again,) = done.files("restored") - names
    assert again.startswith("scans.tar/box/astronaut.jpg.") and again.endswith(".png")
    assert done.files("restored") == names | {again}


def test_restored_photos_are_whole(done: Done) -> None:
    rows = done.rows("SELECT restored_uri, width, height, member FROM photos WHERE status = 'restored'")
    assert len(rows) == 7
    for row in rows:
        assert decoded(Path(row["restored_uri"]).read_bytes()).shape == (row["height"], row["width"], 3)
    faces = done.rows("SELECT photo_id, restored_uri, seed, box FROM faces")
    assert len(faces) == 7
    assert len({face["seed"] for face in faces}) == 3  # as many as there are different files
    assert {face["restored_uri"] for face in faces} == {row["restored_uri"] for row in rows}


def test_nothing_is_written_outside_of_the_output(done: Done) -> None:
    assert {path.name for path in done.output.iterdir()} == {"run.json", "index", "manifest", "restored"}
    assert {path.name for path in done.output.parent.iterdir()} == {"in", "out"}
    assert {path.name for path in (done.output.parent / "in").rglob("*")} == {
        *("scans.tar", "zip.tar", "more.tar.gz", "nothing.tar", "loose", "2", "astronaut.jpg", "late.jpg")
    }
    assert not [path for path in done.output.rglob("*") if path.name.endswith(".part") or path.is_symlink()]


def test_the_settings_are_kept_and_no_secret(done: Done) -> None:
    attempts = json.loads((done.output / "run.json").read_text())["attempts"]
    assert [attempt["settings"]["detector"] for attempt in attempts] == ["haar"]  # what "auto" came to
    assert attempts[0]["resources"]["max_actors"] == 2
    digests = done.rows("SELECT DISTINCT settings_digest, weights_digest FROM photos")
    assert digests == [{key: attempts[0][key] for key in ("settings_digest", "weights_digest")}]
    for path in done.output.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.printed


def test_what_it_prints(done: Done) -> None:
    lines = done.printed.splitlines()
    assert lines[0].startswith("index: 5 archives, 16 members, 14 photos") and lines[0].endswith("1 errors")
    progress = [line for line in lines if line.startswith("restore: ")]
    assert progress[0].startswith("restore: 0/17 photos")
    assert progress[-1].startswith("restore: 17/17 photos, 7 faces") and progress[-1].endswith(", 6 failed")
    assert lines[-2].split() == ["17", "=", "7", "+", "1", "+", "3", "+", "6", "+", "0"]
    assert lines[-1] == f"faces restored: 7; next: interlcm status {done.output}"
    assert lines[1] == "actors: 2, on the CPU"
    assert len(lines) == len(progress) + 5


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_started_again_it_does_nothing(done: Done) -> None:
    before = snapshot(done.output)
    again = done.start()
    assert snapshot(done.output) == before
    assert "restore: 0/0 photos" in again.printed
    assert again.failed == 6


def test_what_failed_is_done_again_and_only_that(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test above sees this: one broken photo was repaired meanwhile. The manifest's parts are merged on the way."""
    files: list[int] = []
    merge = compaction.compact_if_many

    def and_count(output: str) -> None:
        merge(output)
        files.append(len(done.files("manifest")))

    monkeypatch.setattr(run_attempt, "COMPACT_EVERY", 1)
    monkeypatch.setattr(compaction, "FEW", 0)
    monkeypatch.setattr(compaction, "compact_if_many", and_count)
    put(done.sources[-1], "late.jpg", encoded(hopper()))
    before = snapshot(done.output / "restored")
    again = done.start(where="status = 'failed'")
    assert "restore: 6/6 photos, 1 faces" in again.printed
    assert again.failed == 5
    found = counts(str(done.output))
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (17, 8, 1, 3, 5, 0)
    late = done.rows("SELECT status, error FROM photos WHERE member = 'late.jpg'")
    assert late == [{"status": "restored", "error": None}]
    after = snapshot(done.output / "restored")
    assert {path for path in after if after[path] != before.get(path)} == {f"{done.output}/restored/loose/late.jpg.jpg"}
    assert len(files) >= 2 and set(files) == {1}  # in the course of the run and at its end
    log = "SELECT count(*) AS n FROM manifest GROUP BY photo_id ORDER BY n"
    assert [row["n"] for row in done.rows(log)] == [1] * 11 + [2] * 6
    assert len(json.loads((done.output / "run.json").read_text())["attempts"]) == 2


def test_output_that_fails_for_all_photos_stops_the_run_in_one_line(
    tmp_path: Path, tiny_weights: str, fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stage meets a server that is not there: its StorageError arrives as one, through Ray."""
    source = put(str(tmp_path), "notes.tar", tar_bytes({"notes.txt": b"a text"}))
    output = str(tmp_path / "out")
    index_sources([source], output)
    for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    elsewhere = replace(prepare.prepare(output, Settings(weights=tiny_weights)), output="s3://bucket/out")
    with pytest.raises(Exception) as stopped:
        list(chain.chain(pending(output), elsewhere, 32, Resources(), ledger.ledger()).iter_batches(batch_size=None))
    cause = getattr(stopped.value, "cause", None)
    assert isinstance(cause, storage.StorageError)
    assert cause.reason == "unreachable"


def test_a_second_run_on_the_same_output_is_refused(done: Done) -> None:
    before = snapshot(done.output)
    with lease.held(str(done.output)), pytest.raises(lease.LeaseError, match=f"{done.output}: process .* works on it"):
        done.start()
    assert snapshot(done.output) == before
