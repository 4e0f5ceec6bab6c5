"""Which photos `interlcm restore` selects: --sample, --where, and new photos in an old run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.manifest import counts
from pipeline.manifest.write import write_part
from tests.support.archives import put, tar_bytes
from tests.support.command import Interlcm
from tests.support.pictures import coffee, encoded
from tests.support.rows import pending_rows, result_row

COUNT = 10
NONE = encoded(coffee(96))


@pytest.fixture
def restore(tmp_path: Path, tiny_weights: str, capsys: pytest.CaptureFixture[str]) -> Restore:
    source = put(str(tmp_path), "scans.tar", tar_bytes({f"{n}.jpg": NONE for n in range(COUNT)}))
    return Restore(Interlcm(capsys), [source], str(tmp_path / "out"), tiny_weights)


class Restore:
    """`interlcm restore` on the same OUTPUT again and again."""

    def __init__(self, interlcm: Interlcm, sources: list[str], output: str, weights: str) -> None:
        self.interlcm, self.sources, self.output, self.weights = interlcm, sources, output, weights

    def to_do(self, *options: str) -> int:
        """The number of photos that a dry run finds to restore."""
        words = [*self.sources, "--output", self.output, "--weights", self.weights, "--dry-run", *options]
        assert self.interlcm("restore", *words) == 0, self.interlcm.err
        (number,) = re.findall(r"^dry run: (\d+) files? to restore", self.interlcm.out, re.MULTILINE)
        return int(number)

    def ids(self) -> list[str]:
        return sorted(pending_rows(self.output)["photo_id"].to_pylist())

    def results(self, ids: list[str], attempt: str, status: str = "no_face", weights: str = "old") -> None:
        named = {row["photo_id"]: row for row in pending_rows(self.output).to_pylist()}
        rows = [
            result_row(named[one]["member"], status, photo_id=one, source=named[one]["source"], weights_digest=weights)
            for one in ids
        ]
        write_part(rows, self.output, attempt)


def test_a_sample_is_the_same_each_time(restore: Restore) -> None:
    assert restore.to_do() == COUNT
    assert restore.to_do("--sample", "3") == 3
    assert restore.to_do("--sample", "100") == COUNT
    restore.results(restore.ids()[:3], "1")
    assert restore.to_do("--sample", "3") == 0
    assert restore.to_do("--sample", "5") == 2
    assert restore.to_do() == COUNT - 3


def test_what_failed_and_what_older_weights_made(restore: Restore) -> None:
    restore.to_do()
    ids = restore.ids()
    restore.results(ids[:4], "1")
    restore.results(ids[4:6], "2", status="failed")
    restore.results(ids[6:9], "3", weights="new")
    assert restore.to_do() == 1
    assert restore.to_do("--where", "status = 'failed'") == 2
    assert restore.to_do("--where", "weights_digest <> 'new'") == 6
    assert restore.to_do("--where", "weights_digest <> 'new' AND status <> 'failed'") == 4
    assert restore.to_do("--sample", "5", "--where", "weights_digest <> 'new'") == 5


def test_new_accessions_join_an_old_run(restore: Restore, tmp_path: Path) -> None:
    restore.to_do()
    restore.results(restore.ids(), "1")
    restore.sources.append(put(str(tmp_path), "more.tar", tar_bytes({"a.jpg": NONE, "b.jpg": NONE})))
    assert restore.to_do() == 2
    assert "index: 2 archives, 12 members" in restore.interlcm.out
    found = counts.counts(restore.output)
    assert (found.indexed, found.no_face, found.pending, found.adds_up) == (COUNT + 2, COUNT, 2, True)
