"""Pairs of an evaluation: which LQ picture belongs to which HQ picture, and the bytes of both."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import pyarrow as pa

from pipeline.archives.compressed import COMPRESSIONS
from pipeline.archives.names import normal_path
from pipeline.config.job import Job
from pipeline.config.limits import Limits
from pipeline.evaluation.schema import to_table
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.stages import fetch as fetch_stage
from pipeline.stages.row import Row

SIDES = ("lq", "hq")
MEMBER = pa.struct(list(INDEX_SCHEMA))
PAIR_SCHEMA = pa.schema(
    [
        ("pair", pa.int32()),
        ("shown", pa.bool_()),
        ("lq", MEMBER),  # null: to be made from hq
        ("hq", MEMBER),  # null: none
        # Columns by which `pending.split` cuts.
        ("source", pa.string()),
        ("archive_format", pa.string()),
        ("stored_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Pairs:
    """pairs: PAIR_SCHEMA, sorted so that an archive is read through once. ended: rows of files in no pair."""

    pairs: pa.Table
    ended: list[Row] = field(default_factory=list)


def pair_up(lq: pa.Table | None, hq: pa.Table | None, shown: int = 0) -> Pairs:
    """Turn the index rows of two sets into pairs; with only one set, each file stands alone.

    Partners have the same name without folders and suffix or, if such names are not unique in both sets, the same
    path without suffix. Files without a partner, and unreadable archives, end as failed rows. `shown` pairs, spread
    evenly, are marked for the grid.
    """
    found = {side: table.to_pylist() for side, table in zip(SIDES, (lq, hq), strict=True) if table is not None}
    ended = [unreadable(side, row) for side, rows in found.items() for row in rows if row["error_type"]]
    files = {
        side: [row for row in rows if row["kind"] == "file" and not row["error_type"]] for side, rows in found.items()
    }
    if len(files) == 2:
        pairs, lone = matched(files["lq"], files["hq"])
        ended += [without_partner(side, row) for side, rows in lone.items() for row in rows]
    else:
        pairs = [{side: row} for side, rows in files.items() for row in rows]
    pairs.sort(key=lambda pair: [pair[side]["source"] for side in SIDES if side in pair])
    shown = min(shown, len(pairs))
    marked = {round(n * (len(pairs) - 1) / max(shown - 1, 1)) for n in range(shown)}
    rows = [{"pair": n, "shown": n in marked, **pair, **cut_by(pair)} for n, pair in enumerate(pairs)]
    return Pairs(pa.Table.from_pylist(rows, schema=PAIR_SCHEMA), ended)


def matched(lq: list[Row], hq: list[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Pairs in the order of `lq`, and the rest of each side."""
    key = name_of if unique(map(name_of, lq)) and unique(map(name_of, hq)) else path_of
    waiting: dict[str, deque[Row]] = defaultdict(deque)
    for row in hq:
        waiting[key(row)].append(row)
    pairs, lone = [], []
    for row in lq:
        partners = waiting[key(row)]
        if partners:
            pairs.append({"lq": row, "hq": partners.popleft()})
        else:
            lone.append(row)
    return pairs, {"lq": lone, "hq": list(chain.from_iterable(waiting.values()))}


def path_of(row: Row) -> str:
    return posixpath.splitext(normal_path(row["member"]))[0]


def name_of(row: Row) -> str:
    return posixpath.basename(path_of(row))


def unique(names: Iterable[str]) -> bool:
    return max(Counter(names).values(), default=1) == 1


def cut_by(pair: Row) -> Row:
    """Both sources as one; compressed if either is, because all their pairs are then read in one pass."""
    formats = [row["archive_format"] for row in pair.values()]
    return {
        "source": "\0".join(row["source"] for row in pair.values()),
        "archive_format": next((format for format in formats if format in COMPRESSIONS), formats[0]),
        "stored_bytes": sum(row["stored_bytes"] or 0 for row in pair.values()),
    }


def unreadable(side: str, row: Row) -> Row:
    return {**named(side, row), "status": "failed", "error_type": row["error_type"], "error": row["error"]}


def without_partner(side: str, row: Row) -> Row:
    other = "HQ" if side == "lq" else "LQ"
    words = f"no {other} picture is named {name_of(row)}"
    return {**named(side, row), "status": "failed", "error_type": "no_partner", "error": words}


def named(side: str, row: Row) -> Row:
    return {f"{side}_source": row["source"], f"{side}_member": row["member"]}


def fetch_pairs(unit: pa.Table, job: Job) -> Iterator[pa.Table]:
    """Read the files of some pairs; gives one row for each pair, whether they could be read or not."""
    job.environment.use()
    rows: list[Row] = []
    size = 0
    for row in read_pairs(unit.to_pylist(), job.settings.limits):
        rows.append(row)
        size += sum(len(row.get(side) or b"") for side in SIDES)
        if size >= fetch_stage.BLOCK_BYTES:
            yield to_table(rows)
            rows, size = [], 0
    yield to_table(rows)


def read_pairs(pairs: Sequence[Row], limits: Limits) -> Iterator[Row]:
    """Read both archives of a pair side by side; the picture that comes first waits for its partner."""
    started = {pair["pair"]: opened(pair) for pair in pairs}
    sides = [[(pair["pair"], pair[side]) for pair in pairs if pair[side]] for side in SIDES]
    streams = [one_side(side, wanted, limits) for side, wanted in zip(SIDES, sides, strict=True)]
    for arrived in chain.from_iterable(zip_longest(*streams)):
        if arrived is None:
            continue
        number, side, fetched = arrived
        row = started[number]
        row["left"] -= 1
        row[side] = fetched["data"]
        if fetched["status"] is not None:
            row |= {name: fetched[name] for name in ("status", "error_type", "error")}
        if not row["left"]:
            yield started.pop(number)


def opened(pair: Row) -> Row:
    present = [side for side in SIDES if pair[side]]
    row: Row = {"pair": pair["pair"], "shown": pair["shown"], "status": None, "left": len(present)}
    for side in present:
        row |= named(side, pair[side])
    return row


def one_side(side: str, wanted: list[tuple[int, Row]], limits: Limits) -> Iterator[tuple[int, str, Row]]:
    """The files of one side with the number of their pair, in the archive's order."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, row in wanted:
        numbers[row["photo_id"]].append(number)
    for fetched in fetch_stage.fetched([row for _, row in wanted], limits):
        yield numbers[fetched["photo_id"]].pop(), side, fetched
