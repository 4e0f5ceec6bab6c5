"""Counting what came since the last count gives what a count from scratch gives, whatever happened in between."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import compaction
from pipeline.manifest.erase import erase_rows
from pipeline.manifest.schema import REMOVED
from pipeline.manifest.write import write_part
from pipeline.run import kept_count, since
from pipeline.run.kept_count import Kept
from tests.support.rows import START, index_row, result_row, write_index, write_old_part

PHOTOS = 24
STATUSES = ("restored", "restored", "failed", "pending", "no_face", "skipped", "withdrawn")
WARNINGS = [None, [], [{"kind": "rows_lost", "words": "1 %"}], [{"kind": "not_carried", "words": "a path"}] * 2]


def run_json(output: str, attempts: int) -> None:
    """Attempts that begin 100 minutes after each other."""
    listed = [
        {"number": n, "started_at": (START + timedelta(minutes=100 * n)).isoformat(), "settings": {"weights": "demo"},
         "settings_digest": f"settings {n}", "weights_digest": "weights"}
        for n in range(1, attempts + 1)
    ]  # fmt: skip
    Path(output, "run.json").write_text(json.dumps({"attempts": listed}))


def name(n: int) -> dict[str, Any]:
    """Members of three sources, the last of which is not in the index."""
    source = ("a.tar", "b.tar", "lost.tar")[0 if n < 12 else 1 if n < 20 else 2]
    return {"photo_id": f"{n:020x}", "source": source, "member": f"{n:02}.tif"}


def indexed(output: str, photos: range) -> None:
    for source in ("a.tar", "b.tar"):
        rows = [index_row("") | name(n) for n in photos if name(n)["source"] == source]
        write_index(output, rows, name=source)


def drawn(draw: random.Random, n: int, minute: int, attempt: int | None) -> dict[str, Any]:
    """A result of a photo, or of a page of it."""
    row = result_row("", draw.choice(STATUSES), minute=minute) | name(n)
    pages = 3 if n % 5 == 0 else 1
    page = draw.randint(1, pages)
    known: dict[str, Any] = {"page": page, "pages": pages, "attempt": attempt, "face_count": draw.randint(0, 3)}
    known |= {"warnings": draw.choice(WARNINGS), "settings_digest": "s", "weights_digest": "w"}
    if row["status"] == "failed":
        known["error_type"] = draw.choice(["truncated", "decode_error"])
    if page > 1:
        known["photo_id"] = f"{row['photo_id']}-p{page}"
    return row | known


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    """Every count from scratch."""
    made, real = [], kept_count._anew

    def spied(now: kept_count.Now) -> Kept:
        made.append(real(now))
        return made[-1]

    monkeypatch.setattr(kept_count, "_anew", spied)
    return made


def same(output: str) -> Kept:
    """The count with what came since; that from scratch must be equal."""
    found, scratch = kept_count.count(output), kept_count.count(output, from_scratch=True)
    assert found == scratch
    for one in ("failures", "warnings", "lost"):
        assert list(asdict(found.tally.counts)[one].items()) == list(asdict(scratch.tally.counts)[one].items())
    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 40))])
def test_random_histories_are_counted_as_from_scratch(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: list[Kept]
) -> None:
    draw, output = random.Random(seed), str(tmp_path)
    monkeypatch.setattr(compaction, "FILE_ROWS", 12)
    monkeypatch.setattr(compaction, "GROUP_ROWS", 3)
    monkeypatch.setattr(compaction, "FEW", 0)
    indexed(output, range(PHOTOS))
    run_json(output, 3)
    write_part([drawn(draw, 0, 100, 1)], output, "first")
    kept_count.write_count(output, kept_count.count(output))
    added = 0
    for step in range(5):
        run_json(output, 3 + step // 4)
        attempt = draw.choice([1 + step // 2, 1 + step // 2, None, 9])
        for part in range(draw.choice([1, 2])):
            chosen = draw.sample(range(PHOTOS), draw.choice([1, 4, 12]))
            minutes = [
                100 * step + 10 * part + n % 7 - draw.choice([0, 0, 250]) for n in chosen
            ]  # some clocks are behind
            rows = [drawn(draw, n, minute, attempt) for n, minute in zip(chosen, minutes, strict=True)]
            if draw.random() < 0.1:
                rows.append(
                    result_row("", REMOVED, minute=100 * step, attempt=attempt) | name(chosen[0]) | {"member": ""}
                )
            write_part(rows, output, f"{step} {part}")
        before = len(anew)
        same(output)
        added += len(anew) == before + 1  # no other count than that to compare with
        if draw.random() < 0.6:
            kept_count.merge(output)  # and its count is taken for the files that it left
            same(output)
        if draw.random() < 0.1:
            compaction.compact(output)  # by another process, which counts nothing
            same(output)
    assert added >= 1


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that was merged and counted."""
    monkeypatch.setattr(compaction, "FEW", 0)
    uri, draw = str(tmp_path), random.Random(0)
    indexed(uri, range(20))
    run_json(uri, 2)
    write_part([drawn(draw, n, 110 + n, 1) for n in range(8)], uri, "1")
    kept_count.merge(uri)
    return uri


def test_parts_are_counted_since_the_last_merge_alone(output: str, anew: list[Kept]) -> None:
    found = kept_count.count(output)
    write_part([drawn(random.Random(1), n, 300, 2) for n in range(6, 12)], output, "2")
    more = kept_count.count(output)
    assert more.tally.counts.pending < found.tally.counts.pending and more.tally.last != found.tally.last
    kept_count.merge(output)
    merged = kept_count.count(output)
    assert replace(merged, files=more.files) == more and len(merged.files) == 1
    assert not anew
    assert kept_count.count(output, from_scratch=True) == merged


def test_withdrawn_and_removed_photos(output: str, anew: list[Kept]) -> None:
    write_part([result_row("", "restored", 300, attempt=2) | name(n) for n in range(4)], output, "2")
    kept_count.merge(output)
    before = kept_count.count(output).tally.counts
    write_part([result_row("", "withdrawn", 301, attempt=2) | name(n) for n in (1, 2)], output, "3")
    gone = result_row("", REMOVED, 302, attempt=2) | name(3) | {"member": ""}
    write_part([gone], output, "4")
    found = kept_count.count(output).tally.counts
    assert (found.withdrawn - before.withdrawn, found.removed, len(anew)) == (2, 1, 0)
    same(output)
    erase_rows(output, {name(3)["photo_id"]})  # a file that was counted is gone
    assert same(output).tally.counts == found


def test_what_makes_the_last_count_void(output: str, anew: list[Kept]) -> None:
    def void() -> bool:
        before = len(anew)
        found = same(output)
        counted = len(anew) - before
        kept_count.write_count(output, found)
        return counted == 2

    assert not void()
    indexed(output, range(18))
    assert void() and not void()
    indexed(output, range(24))
    assert void() and not void()
    run_json(output, 1)
    assert not void()  # all results are of the attempt that is left
    write_old_part(output, [result_row("", "no_face", 5) | name(19)])
    assert not void()
    file = Path(output, "status.json")
    known = json.loads(file.read_text())
    for damage in ("", "7", json.dumps(known | {"format": 1}), json.dumps(known | {"files": 7})):
        file.write_text(damage)
        assert void()
    file.unlink()
    assert void()


def test_many_new_rows_are_counted_with_all_others(
    output: str, anew: list[Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(since, "MOST_BYTES", 100)
    write_part([drawn(random.Random(1), 9, 300, 2)], output, "2")
    same(output)
    assert len(anew) == 2
