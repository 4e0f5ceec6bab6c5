"""Whether the restored files of a run still match its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from interlcm.errors import InterLCMError
from pipeline import storage
from pipeline.cluster.spread import spread
from pipeline.config.secrets import Environment
from pipeline.index.schema import root_id
from pipeline.manifest import query
from pipeline.storage import client as storage_client
from pipeline.storage.errors import StorageError, storage_errors
from pipeline.storage.output import Output

CHUNK = 32  # files that one task reads
READ = 4 << 20  # bytes of a file in memory at once
FILE_KINDS = ("file", "link")
SHOWN = 20  # photo_ids in one line

# The newest row of each photo, in the order of the files. Further pages use their member's index row.
RESTORED = """
SELECT p.photo_id, p.restored_uri AS uri, p.restored_sha256 AS sha256, i.archive_name, p.status = 'withdrawn' AS aside
FROM newest p LEFT JOIN index i ON i.photo_id = p.index_id
WHERE p.status IN ('restored', 'no_face', 'withdrawn') AND p.restored_uri IS NOT NULL {but}
ORDER BY p.restored_uri, p.photo_id
"""
# A bag was made without the photos that a curator had rejected, whether or not the run followed these decisions yet.
NOT_REJECTED = """AND p.photo_id NOT IN (
    SELECT photo_id FROM decisions WHERE void IS NULL AND face_index IS NULL AND decision = 'reject')
"""


class VerifyError(InterLCMError):
    """Files or photos do not match the manifest: one line with the remedy."""


@dataclass(frozen=True)
class Listed:
    """A restored file of the manifest; uri: where it is now."""

    photo_id: str
    uri: str
    sha256: str


@dataclass(frozen=True)
class Problem:
    """kind: missing, differs or unreadable."""

    kind: str
    listed: Listed
    words: str = ""


@dataclass
class Verified:
    """The progress of the check and its findings, in the order of the files.

    unlisted: files below restored/ and withdrawn/ that no newest row names. They are no error: a worker that was killed
    between file and row leaves one, and so does an attempt that restored photos again and was killed before it removed
    their earlier files.
    """

    total: int
    done: int = 0
    problems: list[Problem] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(problem.kind == kind for problem in self.problems)

    def check(self, output: str) -> None:
        """Raises VerifyError if there are problems."""
        if not self.problems:
            return
        ids = sorted({root_id(problem.listed.photo_id) for problem in self.problems})
        which = f" AND photo_id IN ({', '.join(map(repr, ids))})" if len(ids) <= SHOWN else ""
        again = f'interlcm restore SOURCE... --output {output} --where "restored_uri IS NOT NULL{which}"'
        wrong = f"{output}: {len(self.problems)} of {self.total} restored files do not match the manifest"
        raise VerifyError(f"{wrong}; bring them back from a copy, or restore these photos again: {again}")


def verify(output: str) -> Iterator[Verified]:
    """Read every restored file and compare its digest, several at a time; yields the same `Verified` as it fills.

    Raises StorageError if there is no run at OUTPUT, or storage fails for all files.
    """
    output = storage.canonical(output)
    listed, aside = restored(output)
    verified = Verified(total=len(listed))
    yield verified
    for chunk, problems in checked(listed):
        verified.done += chunk
        verified.problems += problems
        yield verified
    verified.unlisted = unlisted(output, {one.uri for one in listed} | aside)
    yield verified


def restored(output: str) -> tuple[list[Listed], set[str]]:
    """The restored files of a run, sorted; of the run in a bag those that the bag has to have. And where those are that
    were set aside.

    These are not checked: decide restores a photo again whose file is gone.
    """
    but = NOT_REJECTED if storage.exists(f"{output.rpartition('/')[0]}/bagit.txt") else ""
    sql = RESTORED.format(but=but)
    rows = query.reading(output, lambda connection: query.run(connection, sql), decided=bool(but), whole=True)
    place, listed, aside = Output(output), list[Listed](), set[str]()
    for row in rows.to_pylist():
        one = Listed(row["photo_id"], place.now(row["uri"], row["archive_name"]), row["sha256"])
        if row["aside"]:
            aside.add(one.uri)
        else:
            listed.append(one)
    return listed, aside


def checked(listed: list[Listed]) -> Iterator[tuple[int, list[Problem]]]:
    """For each chunk of files, in their order, its length and the problems found."""
    environment = Environment(storage_client.environment())
    chunks = [listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK)]
    found = spread(problems_of, ((chunk, environment) for chunk in chunks), cpus=0.5)
    yield from zip(map(len, chunks), found, strict=True)


def problems_of(listed: list[Listed], environment: Environment) -> list[Problem]:
    """The problems of these files."""
    environment.use()
    return [problem for one in listed if (problem := problem_of(one)) is not None]


def problem_of(listed: Listed) -> Problem | None:
    try:
        found = digest(listed.uri)
    except StorageError as error:
        if error.stops_run:
            raise
        missing = error.reason == "missing"
        return Problem("missing", listed) if missing else Problem("unreadable", listed, str(error))
    return None if found == listed.sha256 else Problem("differs", listed)


def digest(uri: str) -> str:
    """sha256 of a file, without holding all of it in memory."""
    sha256 = hashlib.sha256()
    with storage.open_stream(uri) as file, storage_errors(uri):
        while piece := file.read(READ):
            sha256.update(piece)
    return sha256.hexdigest()


def unlisted(output: str, listed: set[str]) -> list[str]:
    """The files below restored/ and withdrawn/ that are not among these, sorted."""
    place = Output(output)
    folders = [folder for folder in (place.restored, place.withdrawn) if storage.exists(folder)]
    found = ((folder, path) for folder in folders for path, kind, *_ in storage.entries(folder) if kind in FILE_KINDS)
    uris = (storage.join(folder, path) for folder, path in found)
    return sorted(uri for uri in uris if uri not in listed)
