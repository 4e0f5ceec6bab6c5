"""A whole run with Ray, sources and OUTPUT on an S3 server: every kind of trouble in archives is accounted for.

Weights come from there too. An older accession that is gone now is left out with --where, as the line about it says.
The first start has two drivers, the later ones have one. For drivers that die, see test_drivers and test_chaos_on_s3.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import s3fs

from jobs.run import Request, run
from pipeline import storage
from pipeline.cluster import connect as cluster
from pipeline.config.resources import Resources
from pipeline.config.settings import Settings
from pipeline.faces.detectors import load_detector
from pipeline.manifest import compaction, query
from pipeline.manifest.counts import counts
from pipeline.manifest.pending import pending
from pipeline.run import attempt as run_attempt
from pipeline.run import lease, ledger, merging, on_ray, prepare
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import Stage, chain
from pipeline.storage import client as storage_client
from pipeline.storage import traffic
from tests.support.archives import index_sources, put, tar_bytes, zip_bytes
from tests.support.blocks import passing
from tests.support.ceph import SECRET_KEY, CephGateway, free_port
from tests.support.fault_proxy import FaultProxy, no_rest
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side

pytestmark = pytest.mark.usefixtures("ray_cluster")

ONE_BY_ONE = BatchSizes(call_photos=1, part_photos=1, block_bytes=1 << 20)
CUT = encoded(hopper())[:2000]


def hostile_tar() -> bytes:
    """Good photos among members with every kind of fault."""
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
    ("zip.tar", "b/two.jpg", "restored", None): 1,
    ("more.tar.gz", "./hopper.jpg", "restored", None): 1,
    ("more.tar.gz", "./late.jpg", "failed", "truncated"): 1,
    ("nothing.tar", "", "failed", "archive_truncated"): 1,
    ("loose", "box 1/astronaut ü.jpg", "restored", None): 1,
    ("loose", "late.jpg", "failed", "truncated"): 1,
}


@dataclass
class Done:
    """One start of the command: its OUTPUT, what it printed, and its number of failed photos."""

    bucket: str
    sources: list[str]
    where: str | None
    printed: str = ""
    failed: int = -1

    @property
    def output(self) -> str:
        return f"{self.bucket}/out"

    def start(self, where: str | None = None, drivers: int = 1) -> Done:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            settings = Settings(weights=f"{self.bucket}/weights")
            actors, where = (drivers, drivers), where or self.where
            failed = run(Request(self.sources, self.output, settings, actors, where=where, drivers=drivers))
        return Done(self.bucket, self.sources, self.where, text.getvalue(), failed)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with query.connect(self.output) as connection:
            return query.run(connection, sql).to_pylist()

    def files(self, folder: str) -> set[str]:
        return {name for name, _ in storage.list_files(f"{self.output}/{folder}")}

    def attempts(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(storage.read_bytes(f"{self.output}/run.json"))["attempts"]
        return listed


@pytest.fixture(scope="module")
def done(module_bucket: str, tiny_weights: str, ray_cluster: None) -> Done:
    for name, _ in storage.list_files(tiny_weights):
        put(f"{module_bucket}/weights", name, Path(tiny_weights, name).read_bytes())
    folder = f"{module_bucket}/in"
    two = side_by_side(astronaut(), hopper())
    photos = {"a.jpg": encoded(astronaut()), "a.png": encoded(hopper(), "PNG"), "b/two.jpg": encoded(two)}
    sources = [
        put(folder, "scans.tar", hostile_tar()),
        put(folder, "zip.tar", zip_bytes(photos)),
        put(folder, "more.tar.gz", tar_bytes({"./hopper.jpg": encoded(hopper()), "./late.jpg": CUT}, "w:gz")),
        put(folder, "nothing.tar", b""),
        folder + "/loose",
    ]
    put(folder, "loose/box 1/astronaut ü.jpg", encoded(astronaut()))
    put(folder, "loose/late.jpg", CUT)
    gone = put(folder, "gone.tar", tar_bytes({"a.jpg": encoded(hopper())}))
    index_sources([gone], f"{module_bucket}/out")
    storage.remove(gone)
    return Done(module_bucket, sources, f"source <> '{gone}'").start(drivers=2)


def test_every_member_has_its_row(done: Done) -> None:
    sql = "SELECT source, member, status, error_type, count(*) AS n FROM photos GROUP BY ALL"
    found = {(r["source"].rsplit("/", 1)[1], r["member"], r["status"], r["error_type"]): r["n"] for r in done.rows(sql)}
    assert found == EXPECTED
    assert all("\n" not in row["error"] for row in done.rows("SELECT error FROM photos WHERE error IS NOT NULL"))


def test_it_adds_up(done: Done) -> None:
    found = counts(done.output)
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (19, 8, 1, 3, 6, 1)
    assert found.adds_up
    assert found.faces == 9
    assert done.failed == 6
    assert run_attempt.audit(done.output, partial=True) == found
    assert done.rows("SELECT count(*) AS n FROM index ANTI JOIN photos USING (photo_id)") == [{"n": 1}]  # gone.tar
    assert done.rows("SELECT count(*) AS n, count(DISTINCT photo_id) AS ids FROM manifest") == [{"n": 18, "ids": 18}]


def test_restored_photos_are_where_they_belong(done: Done) -> None:
    names = {
        "scans.tar/box/astronaut.jpg.jpg",
        "scans.tar/box/hopper.png.png",
        "zip.tar/a.jpg.jpg",
        "zip.tar/a.png.png",
        "zip.tar/b/two.jpg.jpg",
        "more.tar.gz/hopper.jpg.jpg",
        "loose/box 1/astronaut ü.jpg.jpg",
    }
    (again,) = done.files("restored") - names
    assert again.startswith("scans.tar/box/astronaut.jpg.") and again.endswith(".png")
    assert done.files("restored") == names | {again}


def test_restored_photos_are_whole(done: Done) -> None:
    rows = done.rows("SELECT restored_uri, width, height, member FROM photos WHERE status = 'restored'")
    assert len(rows) == 8
    for row in rows:
        assert decoded(storage.read_bytes(row["restored_uri"])).shape == (row["height"], row["width"], 3)
    assert {row["restored_uri"] for row in rows} == {
        f"{done.output}/restored/{name}" for name in done.files("restored")
    }
    faces = done.rows("SELECT photo_id, restored_uri, seed, box FROM faces")
    assert len(faces) == 9
    assert len({face["seed"] for face in faces}) == 5  # three files with one face, one with two
    assert {face["restored_uri"] for face in faces} == {row["restored_uri"] for row in rows}


def test_the_bytes_are_those_of_a_run_in_this_process_on_storage_that_asks_for_slower_requests(
    done: Done,
    ceph_gateway: CephGateway,
    new_bucket: Callable[[], str],
    fresh_clients: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In each folder, for reads and for writes, it does so more often than one that cannot be reached is asked."""
    asked = Counter[tuple[str, str]]()

    def rule(method: str, path: str) -> str | None:
        request = method, path.partition("?")[0].rpartition("/")[0]
        asked[request] += 1
        return "slow_down" if asked[request] <= 7 else None

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(storage_client, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(traffic, "retries", traffic.Retries())
    no_rest(monkeypatch)
    monkeypatch.setattr(cluster, "running", lambda: False)  # workers that index would make the long pauses
    output, settings = f"{new_bucket()}/out", Settings(weights=f"{done.bucket}/weights")
    with FaultProxy(ceph_gateway.rgw_port, rule=rule) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        assert run(Request(done.sources, output, settings, engine="here")) == done.failed
        assert proxy.counts["slow_down"] >= traffic.retries.count > 80
        there = {name: storage.read_bytes(f"{done.output}/restored/{name}") for name in done.files("restored")}
        here = {name: storage.read_bytes(f"{output}/restored/{name}") for name in there}
        assert len(there) == 8 and here == there
        found = counts(output)
        assert (found.failed, found.pending, found.adds_up) == (done.failed, 0, True)
        assert not storage.exists(f"{output}/run.lock.json")


def test_nothing_is_written_outside_of_the_output(done: Done, tiny_weights: str) -> None:
    """Sources and weights are unchanged; OUTPUT has only the files of a run."""
    ours = {"run.json", "status.json", "index", "manifest", "restored"}
    assert {name.split("/")[0] for name in done.files("")} == ours
    loose = {"loose/box 1/astronaut ü.jpg", "loose/late.jpg"}
    there = {name for name, _ in storage.list_files(f"{done.bucket}/in")}
    assert there == {"scans.tar", "zip.tar", "more.tar.gz", "nothing.tar"} | loose
    assert storage.read_bytes(f"{done.bucket}/in/scans.tar") == hostile_tar()
    assert storage.list_files(f"{done.bucket}/weights") == storage.list_files(tiny_weights)
    folders = {name.split("/")[0] for name, _ in storage.list_files(done.bucket)}
    assert folders == {"in", "out", "weights"}


def test_the_settings_are_kept_and_no_secret(done: Done) -> None:
    attempts = done.attempts()
    assert [attempt["settings"]["detector"] for attempt in attempts] == [load_detector("auto", None).name]
    assert [attempts[0]["resources"][name] for name in ("max_actors", "drivers")] == [2, 2]
    digests = done.rows("SELECT DISTINCT settings_digest, weights_digest FROM photos")
    assert digests == [{key: attempts[0][key] for key in ("settings_digest", "weights_digest")}]
    for name in done.files(""):
        assert SECRET_KEY.encode() not in storage.read_bytes(f"{done.output}/{name}"), name
    assert SECRET_KEY not in done.printed


def test_what_it_prints(done: Done) -> None:
    busy = ("waiting", "check: ", "slow: ", "driver ")  # on a busy machine, where a driver may die for want of memory
    lines = [line for line in done.printed.splitlines() if not line.startswith(busy)]
    assert lines[0] == "checking sources, weights and settings"
    assert lines[1].startswith("index: 6 archives, 18 members, 16 files") and lines[1].endswith("1 error")
    progress = [line for line in lines if line.startswith("restore: ")]
    assert progress[0].startswith("restore: 0/18 files")
    assert progress[-1].startswith("restore: 18/18 files, 9 faces") and progress[-1].endswith(", 6 failed")
    assert lines[-4].split() == ["19", "=", "8", "+", "1", "+", "3", "+", "6", "+", "1"]
    assert lines[-1] == f"faces restored: 9; next: interlcm status {done.output}"
    assert lines[2:4] == ["actors: 2, on the CPU, 2 drivers", "engine: Ray (2 actors)"]
    others = [line for line in lines[4:] if line not in progress]
    assert len(others) == 5, others


def snapshot(folder: str) -> dict[str, tuple[Any, str]]:
    """Key -> the time of its last write, and the digest of its content."""
    fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    return {key: (info["LastModified"], info["ETag"]) for key, info in fs.find(folder, detail=True).items()}


def test_started_again_it_does_nothing(done: Done) -> None:
    before = snapshot(done.output)
    again = done.start()
    assert snapshot(done.output) == before
    assert "nothing to do: every selected photo has a result\nindexed = " in again.printed
    assert again.failed == 6


def test_what_failed_is_done_again_and_only_that(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above do not see this: one broken photo was repaired meanwhile. The manifest's parts are merged too."""
    merged: list[bool] = []
    compact = compaction.compact

    def and_note(output: str, whole: bool = True, **options: Any) -> compaction.Compacted:
        done = compact(output, whole, **options)
        merged.append(whole)
        return done

    monkeypatch.setattr(merging, "COMPACT_EVERY", 1)
    monkeypatch.setattr(compaction, "FEW", 0)
    monkeypatch.setattr(compaction, "compact", and_note)
    put(done.sources[-1], "late.jpg", encoded(hopper()))
    before = snapshot(f"{done.output}/restored")
    again = done.start(where="status = 'failed' OR error_type = 'source_changed'")  # repaired: pending
    assert "restore: 6/6 files, 1 face " in again.printed
    assert again.failed == 5
    found = counts(done.output)
    terms = (found.indexed, found.restored, found.no_face, found.skipped, found.failed, found.pending)
    assert terms == (19, 9, 1, 3, 5, 1)
    late = done.rows("SELECT status, error FROM photos WHERE member = 'late.jpg'")
    assert late == [{"status": "restored", "error": None}]
    after = snapshot(f"{done.output}/restored")
    assert {path for path in after if after[path] != before.get(path)} == {
        f"{done.output}/restored/loose/late.jpg.jpg".removeprefix("s3://")
    }
    assert merged[-1] and merged[:-1] and not any(merged[:-1])  # beside the run, and at its end
    assert len(done.files("manifest")) == 1
    log = "SELECT count(*) AS n FROM manifest GROUP BY photo_id ORDER BY n"
    assert [row["n"] for row in done.rows(log)] == [1] * 12 + [2] * 5 + [3]  # failed, changed, restored
    assert len(done.attempts()) == 2


def test_output_that_fails_for_all_photos_stops_the_run_in_one_line(
    tmp_path: Path, tiny_weights: str, fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stage cannot reach its server: its StorageError passes through Ray unchanged."""
    source = put(str(tmp_path), "notes.tar", tar_bytes({"notes.txt": b"a text"}))
    output = str(tmp_path / "out")
    index_sources([source], output)
    for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    elsewhere = replace(prepare.prepare(output, Settings(weights=tiny_weights)), output="s3://bucket/out")
    with pytest.raises(Exception) as stopped:
        fetch, detect, _, publish = chain(elsewhere, Resources(), ONE_BY_ONE)
        stages, one = (fetch, detect, Stage("restore", passing, (), 1), publish), Resources()  # a text has no face
        list(on_ray.dataset(stages, pending(output), one, ONE_BY_ONE, ledger.book()).iter_batches(batch_size=None))
    cause = getattr(stopped.value, "cause", None)
    assert isinstance(cause, storage.StorageError) and cause.reason == "unreachable"


def test_a_second_run_on_the_same_output_is_refused(done: Done) -> None:
    before = snapshot(done.output)
    with lease.held(done.output), pytest.raises(lease.LeaseError, match=f"{done.output}: process .* is working on it"):
        done.start()
    assert snapshot(done.output) == before


def test_an_archive_that_is_gone_stops_the_run_and_its_photos_stay_pending(done: Done) -> None:
    with pytest.raises(storage.StorageError, match=r"gone\.tar: no such file or folder.*leave it out with --where"):
        replace(done, where=None).start()
    found = counts(done.output)
    assert (found.indexed, found.pending, found.failed, found.adds_up) == (19, 1, 5, True)
    assert not storage.exists(f"{done.output}/run.lock.json")
