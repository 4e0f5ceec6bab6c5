"""A BagIt bag (RFC 8493) of a finished run: restored files, manifest, index, decisions and PREMIS below data/.

data/ is an OUTPUT of its own, which `interlcm query` and `verify` read. The payload manifest is written last, so a bag
that was not finished is not valid. A chunk of photos that is in the bag leaves a mark, an empty file in `unfinished/`
named after its checksums: the same command, started again, copies the other chunks.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

import duckdb
import numpy as np
import numpy.typing as npt

from interlcm.errors import one_line
from pipeline import storage
from pipeline.archives.names import fitting
from pipeline.cluster.spread import spread
from pipeline.config.secrets import Environment
from pipeline.export import photos, premis, tables
from pipeline.export.photos import Chunk, Counts, ExportError
from pipeline.manifest import query
from pipeline.run.attempts import attempts
from pipeline.storage import client as storage_client
from pipeline.storage.errors import storage_errors
from pipeline.storage.output import Output, check_not_in_run

READ = 4 << 20  # bytes of a file in memory at once
DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
MANIFEST, TAG_MANIFEST, UNFINISHED = "manifest-sha256.txt", "tagmanifest-sha256.txt", "unfinished"
# What else of the run goes along, so that it can be read and checked without the rest of OUTPUT. Copies of index files
# (index.copies/) do not: they name the state of each file that they copy, which is another one in the bag.
TABLES = ("manifest", "index", "decisions")


@dataclass(frozen=True)
class Line:
    """A file of the payload. path: below the bag, such as data/restored/scans.tar/a.jpg.jpg; sha256: of its bytes."""

    path: str
    sha256: str

    def text(self) -> str:
        """Its line of the payload manifest: section 2.1.3 has these three characters, and no others, escaped."""
        escaped = self.path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
        return f"{self.sha256}  {escaped}\n"


@dataclass(frozen=True)
class Task:
    """What every worker needs: OUTPUT, the bag, and the credentials."""

    output: str
    bag: str
    environment: Environment


@dataclass
class Bagged:
    """The progress of a bag: photos with their files in it. payload: bytes and files, known at the end."""

    counts: Counts
    photos: int = 0
    percent_names: int = 0
    payload: tuple[int, int] = (0, 0)
    paths: list[npt.NDArray[np.uint64]] = field(default_factory=list, repr=False)

    def add(self, lines: list[Line], file: IO[str]) -> None:
        file.writelines(line.text() for line in lines)
        self.photos += sum(line.path.startswith("data/restored/") for line in lines)
        self.percent_names += sum("%" in line.path for line in lines)
        self.paths.append(np.array([path_key(line.path) for line in lines], np.uint64))


def write_bag(output: str, bag: str, info: list[tuple[str, str]], archivematica: bool = False) -> Iterator[Bagged]:
    """Write a bag, or finish one; yields the same `Bagged` as it fills.

    info: elements of bag-info.txt in addition to this software's own. archivematica: add data/metadata/metadata.csv,
    which it reads. Raises ExportError if the bag is complete already or the place holds something else, or if a
    restored file is not what the manifest has; StorageError; QueryError.
    """
    output, bag = storage.canonical(output), storage.canonical(bag)
    check_place(bag)
    storage.write_bytes(storage.join(bag, UNFINISHED, "about.txt"), f"a bag of {output}, not finished\n".encode())
    task = Task(output, bag, Environment(storage_client.environment()))
    with tempfile.TemporaryDirectory(prefix="interlcm-") as folder:
        listed = Path(folder, MANIFEST)
        with open(listed, "w", encoding="utf-8", newline="") as file, query.streaming(output, photos.MEMORY) as rows:
            bagged = Bagged(photos.counts(rows))
            yield bagged
            for lines in spread(copy_chunk, ((chunk, task) for chunk in photos.chunks(rows)), cpus=0.5):
                bagged.add(lines, file)
                yield bagged
            bagged.add(copy_tables(task), file)
            if archivematica:
                bagged.add([add_metadata(rows, task)], file)
        bagged.payload = settle(bag, np.sort(np.concatenate(bagged.paths)))
        seal(task, bagged, info, listed)
    yield bagged


def check_place(bag: str) -> None:
    """Raises ExportError unless a bag can be begun or continued here."""
    check_not_in_run(storage.join(bag, "bagit.txt"))
    if storage.exists(storage.join(bag, MANIFEST)):
        remove_marks(bag)
        raise ExportError(f"{bag}: a complete bag; name another place for a new one")
    begun = storage.exists(storage.join(bag, UNFINISHED, "about.txt"))
    if not begun and storage.exists(bag) and next(storage.entries(bag), None) is not None:
        raise ExportError(f"{bag}: holds other files; name an empty or a new folder")


def copy_chunk(chunk: Chunk, task: Task) -> list[Line]:
    """Put the photos of a chunk and their PREMIS file into the bag, unless they are there; returns their lines."""
    task.environment.use()
    rows = premis.recorded(chunk.rows.to_pylist())
    if not rows:
        return []
    document = premis.document(rows, task.output)
    kept = {photos.path_of(row, task.output): row["restored_sha256"] for row in rows if row["kept"]}
    record = Line(f"data/premis/{chunk.name}.xml", hashlib.sha256(document).hexdigest())
    lines = [*(Line(f"data/{path}", sha256) for path, sha256 in kept.items()), record]
    marks = storage.join(task.bag, UNFINISHED, fitting(chunk.archive, ""))
    digest = hashlib.sha256("".join(map(Line.text, lines)).encode()).hexdigest()
    mark = storage.join(marks, f"{chunk.number:05d}.{digest}")
    if not storage.exists(mark):
        drop_old_marks(marks, chunk.number)
        for path, sha256 in kept.items():
            copy(storage.join(task.output, path), storage.join(task.bag, "data", path), sha256)
        storage.write_bytes(storage.join(task.bag, record.path), document)
        storage.write_bytes(mark, b"")
    return lines


def drop_old_marks(folder: str, number: int) -> None:
    """If an earlier start copied other photos as this chunk, its archive has changed: none of its marks counts."""
    marks = [name for name, _ in storage.list_files(folder)] if storage.exists(folder) else []
    if any(name.startswith(f"{number:05d}.") for name in marks):
        for name in marks:
            storage.remove(storage.join(folder, name))


def copy(source: str, target: str, expected: str | None = None) -> str:
    """Copy a file; returns its sha256. If it is not the expected one, nothing is written, and ExportError is raised."""
    sha256 = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        with storage.open_stream(source) as file, storage_errors(source):
            while piece := file.read(READ):
                sha256.update(piece)
                yield piece
        if expected not in (None, sha256.hexdigest()):
            raise ExportError(f"{source}: differs from its row in the manifest; interlcm verify shows all such files")

    storage.write_pieces(target, pieces())
    return sha256.hexdigest()


def copy_tables(task: Task) -> list[Line]:
    """Put the run's own tables into the bag."""
    place = Output(task.output)
    single = [uri for uri in (place.run_json, place.settled) if storage.exists(uri)]
    paths = [uri.rpartition("/")[2] for uri in single]
    for name in TABLES:
        folder = storage.join(task.output, name)
        found = storage.list_files(folder) if storage.exists(folder) else []
        paths += [f"{name}/{path}" for path, _ in found]
    return list(spread(copy_table, ((path, task) for path in paths), cpus=0.5))


def copy_table(path: str, task: Task) -> Line:
    task.environment.use()
    return Line(f"data/{path}", copy(storage.join(task.output, path), storage.join(task.bag, "data", path)))


def add_metadata(rows: duckdb.DuckDBPyConnection, task: Task) -> Line:
    """Write the table that Archivematica reads in a bag."""
    sha256, path = hashlib.sha256(), "data/metadata/metadata.csv"

    def pieces() -> Iterator[bytes]:
        for piece in tables.lines(rows, task.output, "archivematica", "data/"):
            sha256.update(piece)
            yield piece

    storage.write_pieces(storage.join(task.bag, path), pieces())
    return Line(path, sha256.hexdigest())


def path_key(path: str) -> int:
    """64 bits that stand for a path: 10^7 of them take 80 MB."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")


def settle(bag: str, listed: npt.NDArray[np.uint64]) -> tuple[int, int]:
    """Bytes and files of the payload as it lies there. Removes what an earlier, killed start copied and the run no
    longer has. Raises ExportError if a file is missing. listed: the keys of all paths, sorted."""
    size = count = 0
    for name, _, length, _ in storage.entries(storage.join(bag, "data")):
        key = np.uint64(path_key(f"data/{name}"))
        place = int(np.searchsorted(listed, key))
        if place < len(listed) and listed[place] == key:
            size, count = size + length, count + 1
        else:
            storage.remove(storage.join(bag, "data", name))
    if count != len(listed):
        raise ExportError(f"{bag}: {len(listed) - count} files disappeared from it; remove {UNFINISHED}/ and try again")
    return size, count


def seal(task: Task, bagged: Bagged, info: list[tuple[str, str]], manifest: Path) -> None:
    """Write the tag files, the payload manifest last, and remove the marks of unfinished work."""
    given = {name.casefold() for name, _ in info}
    elements = [one for one in own_info(task.output, bagged) if one[0].casefold() not in given] + info
    tags = {"bagit.txt": DECLARATION, "bag-info.txt": "".join(f"{name}: {text}\n" for name, text in elements).encode()}
    for name, data in tags.items():
        storage.write_bytes(storage.join(task.bag, name), data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in tags.items()}
    with open(manifest, "rb") as file:
        sums[MANIFEST] = hashlib.file_digest(file, "sha256").hexdigest()
    text = "".join(Line(name, sha256).text() for name, sha256 in sums.items())
    storage.write_bytes(storage.join(task.bag, TAG_MANIFEST), text.encode())
    storage.put_file(storage.join(task.bag, MANIFEST), manifest)
    remove_marks(task.bag)


def remove_marks(bag: str) -> None:
    folder = storage.join(bag, UNFINISHED)
    if Path(folder).is_dir():
        shutil.rmtree(folder)
        return
    for name, _ in storage.list_files(folder) if storage.exists(folder) else []:
        storage.remove(storage.join(folder, name))


def own_info(output: str, bagged: Bagged) -> list[tuple[str, str]]:
    tried = attempts(output)
    left_out = bagged.counts.words()
    about = f"{bagged.photos} photos from {output}" + (f"; left out: {left_out}" * bool(left_out))
    return [
        ("Bagging-Date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("Bag-Software-Agent", f"interlcm {version('interlcm')}"),
        ("External-Identifier", tried[0]["attempt"] if tried else output.rpartition("/")[2]),
        ("Internal-Sender-Description", one_line(about)),
        ("Payload-Oxum", f"{bagged.payload[0]}.{bagged.payload[1]}"),
    ]
