"""The list of settled files: whatever state it is in, the newest rows are the same as without it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.manifest import compaction, query, views
from pipeline.manifest.compaction import compact
from pipeline.manifest.counts import counts
from pipeline.manifest.write import write_part
from tests.support.rows import START, face, index_row, result_row, write_index

PHOTOS = 30
MINUTE = f"(epoch(finished_at)::BIGINT - {int(START.timestamp())}) // 60"
STATUSES = ("restored", "failed", "pending", "no_face")


def model(log: dict[tuple[str, int], dict[str, Any]]) -> dict[str, int]:
    """The moment of the newest row of each photo, in plain Python: see `schema.NEWEST_FIRST`."""
    newest: dict[str, tuple[Any, ...]] = {}
    for (photo, minute), row in log.items():
        attempt = row["attempt"]
        failed = attempt is not None and row["status"] == "failed"
        rank = (attempt or 0, row["status"] == "pending", not failed, minute)
        newest[photo] = max(newest.get(photo, rank), rank)
    return {photo: rank[-1] for photo, rank in newest.items()}


def seen(output: str, whole: bool) -> dict[str, int]:
    """The moment of each photo in the view, the same for its face."""
    with query.connect(output, decided=False, whole=whole) as connection:
        photos = query.run(connection, f"SELECT member, {MINUTE} AS minute FROM photos").to_pylist()
        faces = query.run(connection, "SELECT member, psnr::BIGINT AS minute FROM faces").to_pylist()
    found = {row["member"]: row["minute"] for row in photos}
    assert len(found) == len(photos) == len(faces)
    assert {row["member"]: row["minute"] for row in faces} == found
    return found


def logged(output: str) -> set[tuple[str, int]]:
    with query.connect(output, decided=False) as connection:
        rows = query.run(connection, f"SELECT member, {MINUTE} AS minute FROM manifest").to_pylist()
    return {(row["member"], row["minute"]) for row in rows}


def state(output: str) -> dict[Path, bytes]:
    files = [*Path(output, "manifest").glob("*.parquet"), *Path(output).glob("manifest.json")]
    return {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_random_histories_have_the_newest_rows_at_every_step(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are written, merged, and brought back with the list of any moment before or after, as kills leave them."""
    draw, output = random.Random(seed), str(tmp_path)
    monkeypatch.setattr(compaction, "FILE_ROWS", 12)
    monkeypatch.setattr(compaction, "GROUP_ROWS", 3)
    write_index(output, [index_row(f"{n:02}") for n in range(PHOTOS)])
    log: dict[tuple[str, int], dict[str, Any]] = {}
    earlier: list[dict[Path, bytes]] = []
    for step in range(8):
        attempt = draw.choice([None, 1 + step // 3])
        rows = []
        for n in draw.sample(range(PHOTOS), draw.choice([1, 3, 9])):
            minute = 1000 * step + n - draw.choice([0, 2500])  # some clocks are behind
            known = {"attempt": attempt, "faces": [face(0, psnr=float(minute))], "face_count": 1}
            rows.append(result_row(f"{n:02}", draw.choice(STATUSES), minute=minute, **known))
            log[f"{n:02}", minute] = rows[-1]
        write_part(rows, output, f"{step}")
        earlier.append(state(output))
        compact(output, whole=draw.random() < 0.5)
        now = state(output)
        for file, data in draw.choice(earlier).items():  # a kill before the removals, or another compaction's list
            if draw.random() < 0.3:
                file.write_bytes(data)
        if draw.random() < 0.1:
            Path(output, "manifest.json").unlink(missing_ok=True)
        expected = model(log)
        assert seen(output, whole=True) == seen(output, whole=False) == expected
        assert logged(output) == set(log)
        if draw.random() < 0.5:
            for file in state(output).keys() - now.keys():
                file.unlink()
    compact(output)
    compact(output)
    assert seen(output, whole=True) == seen(output, whole=False) == model(log)
    assert logged(output) == set(log)
    assert all_settled(output)


def all_settled(output: str) -> bool:
    names = {file.name for file in Path(output, "manifest").glob("*.parquet")}
    return names == {one["name"] for one in json.loads(Path(output, "manifest.json").read_text())["files"]}


def test_a_settled_manifest_is_read_without_looking_for_repeated_rows(output: str) -> None:
    """`output` has a photo that was done again."""
    before = counts(output)
    compact(output)
    with query.connect(output, whole=True) as connection:
        plan = query.run(connection, "EXPLAIN SELECT status, count(*) FROM photos GROUP BY 1")[1][0].as_py()
        assert "WINDOW" not in plan and "JOIN" not in plan
        assert query.run(connection, "SELECT count(*) FROM photos")[0].to_pylist() == [2]
        assert query.run(connection, "SELECT count(*) FROM manifest")[0].to_pylist() == [3]
    assert counts(output) == before


@pytest.mark.parametrize(
    "file", ["/etc/hostname", "{output}/index/a-0123456789abcdef.parquet", "{output}/manifest.json"]
)
def test_a_connection_that_reads_settled_files_itself_opens_no_others(output: str, file: str) -> None:
    for part in Path(output, "manifest").iterdir():
        part.unlink()
    write_part([result_row("a.jpg"), result_row("b.jpg")], output, "1")
    compact(output)
    with query.connect(output, whole=True) as connection:
        plan = query.run(connection, "EXPLAIN FROM photos")[1][0].as_py()
        assert "READ_PARQUET" in plan
        with pytest.raises(query.QueryError, match="Permission Error"):
            query.run(connection, f"SELECT * FROM read_text('{file.format(output=output)}')")


def test_a_compaction_may_replace_a_settled_file_before_it_is_opened(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = counts(output), views.connected

    def late(*arguments: Any) -> Any:
        for file in Path(output, "manifest").glob("merged-*.parquet"):
            file.rename(file.with_name(f"merged-{file.stem[7:]}0.parquet"))  # the same rows in another file
        monkeypatch.setattr(views, "connected", real)
        return real(*arguments)

    monkeypatch.setattr(views, "connected", late)
    assert counts(output) == found


def test_a_file_that_was_replaced_under_its_name_is_not_settled(output: str) -> None:
    compact(output)
    (file,) = Path(output, "manifest").glob("merged-*.parquet")
    part = Path(write_part([result_row("a.jpg", minute=5), result_row("a.jpg", minute=6)], output, "4"))
    part.replace(file)
    with query.connect(output, whole=True) as connection:
        assert query.run(connection, "SELECT count(*) FROM photos")[0].to_pylist() == [1]


def test_a_damaged_list_is_one_line_and_a_later_one_is_passed_over(output: str) -> None:
    compact(output)
    file = Path(output, "manifest.json")
    later = json.loads(file.read_text()) | {"format": 2}
    file.write_text(json.dumps(later))
    assert counts(output).adds_up
    file.write_text("{")
    with pytest.raises(storage.StorageError, match=r"manifest.json: damaged \(.*\); remove it, and interlcm manifest"):
        counts(output)
