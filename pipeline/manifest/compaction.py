"""Compaction: merge the many small parts of a run into few large files that are quick to list, read and filter.

It may be killed at any point: a merged file appears whole, and only then are the parts with its rows deleted. Until
then a row is in two files, and counts once (see `views.NEWEST`); a later compaction drops the second copy. Nothing else
is ever dropped: the manifest stays a log with all its older rows. A file's name comes from its bytes, so two
compactions at once write the same files. A compaction that finds a part missing leaves that group alone.

In a merged file the newest row of each photo comes first; older ones follow in row groups of their own. `settled` keeps
what is known of the files together, so that a question about all photos reads the first rows and compares nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest import repeats
from pipeline.manifest import settled as manifest_settled
from pipeline.manifest.files import REQUESTS
from pipeline.manifest.parts import OLDER, Listed, Part, described, groups_of, once, ranked, rows_of, unknown
from pipeline.manifest.schema import MANIFEST_SCHEMA, SCHEMA_VERSION
from pipeline.manifest.settled import Settled
from pipeline.storage.output import Output

FILE_ROWS = 200_000  # about 60 MB of photos with one face each
FILE_BYTES = 256 << 20  # of one file before compression: photos with many faces have long rows
GROUP_ROWS = 10_000  # of a Parquet row group: the least that a filter on source or member reads
FEW = 64  # parts that a run does not compact: a reader opens them quickly


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction: number of the manifest's files before and after, rows and bytes written.

    files: those that have the rows of the files before now; a file that it wrote has no version.
    """

    parts_before: int
    parts_after: int
    rows: int
    bytes: int
    files: Sequence[Listed] = ()


@dataclass
class Work:
    """What a compaction has done so far.

    kept: settled files that stay. new: files of which is not known whether they share photos with others. done: files
    whose rows are in another one now. written: name and bytes of each file that it wrote.
    """

    kept: list[Settled] = field(default_factory=list)
    new: list[Settled] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0


def compact_if_many(output: str, whole: bool = True) -> None:
    """Compact the manifest of a run that has more than FEW parts; a whole compaction is for merged files, too."""
    names = [name for name, _ in Output(output).manifest_files()]
    parts = sum(name.startswith("part-") for name in names)
    if parts > FEW or (whole and parts < len(names)):
        compact(output, whole)


def compact(output: str, whole: bool = True, listing: Sequence[Listed] | None = None) -> Compacted:
    """Merge the small parts of the manifest of a run into files of up to FILE_ROWS rows, sorted by source and member.

    May run at any time, also during a run and several times at once. Needs the memory of one file. Files that are large
    enough are kept, unless they have an earlier version of the schema. whole: large files are written again, too, if
    one of their photos was done again since; else a later compaction does that, and questions take longer until then.
    listing: the files of the manifest, if they were listed already; later ones stay.
    Raises StorageError, also for a part that is damaged or has a later version.
    """
    folder = Output(output).manifest
    listing = Output(output).manifest_listing() if listing is None else listing
    before = {name: version for name, _, version in listing}
    settled = manifest_settled.read_settled(output, {name: size for name, size, _ in listing})
    known = {name: file for name, file in settled.items() if file.schema_version == SCHEMA_VERSION}
    with ThreadPoolExecutor(REQUESTS) as threads:
        work = _merged(folder, listing, known, threads)
    if work.new:
        _settle(folder, work, whole)
    files = {file.name: file for file in work.kept + work.new}
    if files != settled:
        manifest_settled.write_settled(output, files.values())
    done = {name for name in work.done if name not in files}
    left = _remove(output, sorted(done), before)
    now = {file[0]: file for file in listing} | {name: (name, size, "") for name, size in work.written.items()}
    return Compacted(len(before), left, work.rows, work.bytes, [now[name] for name in now.keys() - done])


def _merged(folder: str, files: Sequence[Listed], known: dict[str, Settled], threads: ThreadPoolExecutor) -> Work:
    """Write merged files in place of small ones."""
    work = Work()
    parts: list[Part] = []
    alone: dict[str, Settled] = {}  # merged files that may stay as they are
    for part, file in _found(folder, files, known, threads):
        large = part.rows > FILE_ROWS // 2 or part.raw_bytes > FILE_BYTES // 2
        if file is not None and large:
            (work.kept if file.name in known else work.new).append(file)
            continue
        parts.append(part)
        alone |= {file.name: file} if file is not None else {}
    for group in _groups(parts):
        if len(group) == 1 and not group[0].must:
            file = alone[group[0].name]
            (work.kept if file.name in known else work.new).append(file)
            continue
        rows = rows_of(folder, group, threads)
        if rows is None:
            work.kept += [known[part.name] for part in group if part.name in known]
            continue
        _write(folder, work, rows)
        work.done += [part.name for part in group]
    return work


def _found(
    folder: str, files: Sequence[Listed], known: dict[str, Settled], threads: ThreadPoolExecutor
) -> Iterator[tuple[Part, Settled | None]]:
    """Each file as a part to merge, and as the merged file that it is. The bytes of small ones are kept as far as they
    fit into the memory of one file."""
    yield from ((Part.of(known[name], version), known[name]) for name, _, version in files if name in known)
    fresh = [file for file in files if file[0] not in known]
    keep = sum(size for _, size, _ in fresh) <= FILE_BYTES
    for part, file in threads.map(lambda file: unknown(folder, file, keep), fresh):
        if part is not None:
            yield part, file


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    return groups_of(parts, FILE_ROWS, FILE_BYTES)


def _write(folder: str, work: Work, rows: pa.Table) -> None:
    """Write one merged file: the newest rows, then the older ones."""
    rows = ranked(rows)
    newest = rows.filter(pc.invert(rows[OLDER])).select(MANIFEST_SCHEMA.names)
    older = rows.filter(rows[OLDER]).select(MANIFEST_SCHEMA.names)
    data = _encoded(newest, older)
    digest = hashlib.sha256(data).hexdigest()
    name = f"merged-{digest[:20]}.parquet"
    storage.write_bytes(storage.join(folder, name), data.to_pybytes())
    footer = pq.read_metadata(pa.BufferReader(data))
    work.new.append(described(name, data.size, footer, len(newest)))
    work.written[name] = data.size
    work.rows, work.bytes = work.rows + len(rows), work.bytes + data.size


def _encoded(newest: pa.Table, older: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, MANIFEST_SCHEMA, compression="zstd") as writer:
        for rows in (newest, older):
            if len(rows):
                writer.write_table(rows, row_group_size=GROUP_ROWS)
    return sink.getvalue()


def _settle(folder: str, work: Work, whole: bool) -> None:
    """Find photos with several rows among the newest of all files; then mark all but one of these as older."""
    near = [file for file in work.kept if any(file.meets(new) for new in work.new)]
    photos = repeats.repeated(folder, [*near, *work.new])
    if not len(photos):
        return
    if not whole:
        work.new = []  # readers compare them with the others
        return
    for file, rows in repeats.parted(folder, [*near, *work.new], photos):
        for files in (work.kept, work.new):
            if file in files:
                files.remove(file)
        if len(rows):
            _write(folder, work, once(rows))
        work.done.append(file.name)


def _remove(output: str, names: Sequence[str], before: dict[str, str]) -> int:
    """Delete files whose rows are in others, unless a task wrote one of them anew; returns how many files are left."""
    left = len(before)
    if names:
        now = {name: version for name, _, version in Output(output).manifest_listing()}
        same = [name for name in names if now.get(name) == before.get(name, now.get(name))]
        storage.remove_all(Output(output).manifest, [name for name in same if name in now])
        left = len(now.keys() - set(same))
    return left
