"""What runs need that a killer disturbs: their photos, the killer's victims, and what must be true of their OUTPUT."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import psutil

from jobs.run import Request, run
from pipeline import storage
from pipeline.config.settings import Settings
from pipeline.manifest import query
from pipeline.manifest.counts import Counts, counts
from tests.support.archives import put, tar_bytes, zip_bytes
from tests.support.pictures import coffee, encoded, hopper

FACES_EVERY, WITH_FACES = 10, "member LIKE '%0.jpg'"
STAGES = ("MapWorker", "MapBatches")  # in the titles of workers of a run; idle ones are called ray::IDLE
QUICK = ("MapBatches(Detect)", "MapBatches(fetch_open)", "MapBatches(publish_open)")  # that start without torch
LEDGER, SHARE = "ray::Ledger", "ray::Driver"
Digests = dict[str, str]  # path below restored/ -> sha256


def photos(count: int) -> dict[str, bytes]:
    """Small, so that a run takes seconds; few have a face."""
    face, none = encoded(hopper(96)), encoded(coffee(96))
    return {f"box{n // 50}/{n:04}.jpg": none if n % FACES_EVERY else face for n in range(count)}


def scans(folder: str, archives: int, each: int) -> list[str]:
    """So many archives of so many of these photos, tar and zip by turns; returns their URIs."""
    members = list(photos(archives * each).items())
    sources = []
    for number in range(archives):
        inside = dict(members[number * each : (number + 1) * each])
        name, data = ("zip", zip_bytes(inside)) if number % 2 else ("tar", tar_bytes(inside))
        sources.append(put(folder, f"in/scans-{number:02}.{name}", data))
    return sources


def working(parent: int, titles: tuple[str, ...]) -> list[psutil.Process]:
    """The processes below this one with one of these in their titles, the oldest first."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(parent).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if any(title in " ".join(process.cmdline()) for title in titles):
                    found.append(process)
    return sorted(found, key=lambda process: process.pid)


def undisturbed(sources: list[str], output: str, weights: str) -> Digests:
    """What a run makes that nobody disturbs: one in this process, since both engines make the same bytes.

    It takes the photos with a face: of no other is a file to be restored.
    """
    assert run(Request(sources, output, Settings(weights=weights), engine="here", where=WITH_FACES)) == 0
    names = [name for name, _ in storage.list_files(f"{output}/restored")]
    return {name: hashlib.sha256(storage.read_bytes(f"{output}/restored/{name}")).hexdigest() for name in names}


def so_far(output: str, wanted: Digests, may_fail: set[str]) -> Counts:
    """At any moment, also during a run: the numbers add up, and restored files are those of the undisturbed run."""
    found = counts(output)
    assert found.adds_up and found.skipped == 0 and found.failures.keys() <= may_fail
    sql = "SELECT restored_uri, restored_sha256 FROM photos WHERE status = 'restored'"
    rows = query.reading(output, lambda connection: query.run(connection, sql)).to_pylist()
    made = {row["restored_uri"].removeprefix(f"{output}/restored/"): row["restored_sha256"] for row in rows}
    assert made.items() <= wanted.items()
    for name, digest in made.items():
        assert hashlib.sha256(storage.read_bytes(f"{output}/restored/{name}")).hexdigest() == digest
    return found


def check(output: str, count: int, wanted: Digests, may_fail: set[str]) -> None:
    """At the end: each photo has one newest row, none is lost, and nothing is left over."""
    found = so_far(output, wanted, may_fail)
    assert (found.indexed, found.pending) == (count, 0)
    assert found.restored + found.no_face == count - found.failed
    with query.connect(output) as connection:
        sql = "SELECT count(*), count(DISTINCT photo_id), count(DISTINCT source || member) FROM photos"
        assert [column[0].as_py() for column in query.run(connection, sql).columns] == [count] * 3
        lost = "SELECT count(*) FROM index ANTI JOIN photos USING (photo_id)"
        assert query.run(connection, lost).columns[0][0].as_py() == 0
    listed = {name for name, _ in storage.list_files(f"{output}/restored")}
    assert listed <= wanted.keys() and len(listed) == found.restored
    assert not storage.exists(f"{output}/run.lock.json")
