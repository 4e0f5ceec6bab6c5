"""The files of a IIIF export: tiles and manifest of each photo, collections of up to 500 photos, and one of these."""

from __future__ import annotations

import glob
import hashlib
import json
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline import storage
from pipeline.archives.compressed import COMPRESSIONS
from pipeline.archives.member import ArchiveError
from pipeline.archives.reader import read_rows
from pipeline.cluster.spread import spread
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.export import iiif, photos
from pipeline.export.photos import Row
from pipeline.manifest import query
from pipeline.manifest.schema import REMOVED
from pipeline.photos.errors import PhotoError
from pipeline.run.attempts import attempts
from pipeline.sandbox import parent as sandbox
from pipeline.storage import client as storage_client
from pipeline.storage.output import check_not_in_run
from pipeline.storage.pages import AT_ONCE

IN_COLLECTION = 500  # photos: a collection is one file, which a viewer loads whole
UNIT = 64  # photos of one call
# The photos that go out, with what their members are read by. A compressed tar is read once, from its beginning.
SQL = f"""
SELECT k.* EXCLUDE (source, member, bytes, archive_name), i.* EXCLUDE (photo_id, error, error_type),
    i.archive_format IN ({", ".join(map(repr, COMPRESSIONS))}) AS streamed
FROM ({photos.PHOTOS}) AS k JOIN index AS i ON i.photo_id = k.index_id
WHERE k.kept ORDER BY i.source, i."offset", i.member, k.page, k.photo_id
"""
# Photos that an earlier export may have shown and that must not go out any more; removed: with all pages.
HIDDEN = f"""
SELECT photo_id, status = '{REMOVED}' AS removed FROM newest WHERE status IN ('withdrawn', '{REMOVED}')
UNION SELECT photo_id, false FROM ({photos.PHOTOS}) WHERE rejected
"""


@dataclass(frozen=True)
class Task:
    """What every worker needs. folder: where the files go; base: its URL on the web server."""

    output: str
    folder: str
    base: str
    limits: Limits
    environment: Environment


@dataclass
class Shown:
    """The progress: photos with a manifest, and those that cannot be shown, with the first one's reason."""

    counts: photos.Counts
    done: int = 0
    failed: int = 0
    reason: str = ""
    collection: str = ""  # URL of the top collection, at the end


def write_iiif(output: str, folder: str, base: str) -> Iterator[Shown]:
    """Write the export; yields the same `Shown` as it fills. Photos that have their tiles already keep them, but for
    those that were rejected or removed since.

    base: URL under which a web server will give out the folder. Raises StorageError, QueryError, and
    ModuleNotFoundError if the decoders are not installed.
    """
    from pipeline.export import tiles  # noqa: F401  before the threads, as in report/pictures.py

    output, folder = storage.canonical(output), storage.canonical(folder)
    check_not_in_run(storage.join(folder, "collection.json"))
    tried = attempts(output)
    limits = Limits(**tried[-1]["settings"].get("limits", {})) if tried else Limits()
    task = Task(output, folder, base.rstrip("/"), limits, Environment(storage_client.environment()))
    collections = Collections(task)
    with query.streaming(output, photos.MEMORY) as rows:
        shown = Shown(photos.counts(rows))
        yield shown
        batches = rows.sql(SQL).to_arrow_reader(photos.BATCH_ROWS)
        calls = ((table.to_pylist(), task) for table in photos.cut(batches, UNIT, whole="streamed"))
        for made in spread(show_unit, calls):
            for source, outcome in made:
                if isinstance(outcome, str):
                    shown.failed += 1
                    shown.reason = shown.reason or outcome
                else:
                    collections.add(source, outcome)
                    shown.done += 1
            yield shown
        hidden = rows.sql(HIDDEN).fetchall()
    shown.collection = collections.close()
    hide(hidden, task)
    yield shown


def hide(photo_ids: list[tuple[str, bool]], task: Task) -> None:
    """Remove the files of photos. Each id comes with whether the further pages of its member go, too."""
    here = glob.escape(task.folder)
    for photo_id, pages in photo_ids:
        place = f"{here}/{iiif.folder_of(photo_id)}"
        found = storage.glob(place) + (storage.glob(f"{place}-p*") if pages else [])
        for uri, *_ in found:
            storage.remove_all(uri, [name for name, _ in storage.list_files(uri)])


def show_unit(rows: list[Row], task: Task) -> list[tuple[str, dict[str, Any] | str]]:
    """Write the files of these photos of one source: for each its source, and its item in a collection or an error."""
    task.environment.use()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sizes = dict(zip(map(id_of, rows), threads.map(partial(tiled, task=task), rows), strict=True))
    errors: dict[str, str] = {}
    new = [row for row in rows if sizes[id_of(row)] is None]
    for row, data in read_rows(new, task.limits) if new else ():
        try:
            sizes[id_of(row)] = tile(row, data, task)
        except (ArchiveError, PhotoError, storage.StorageError) as error:
            if isinstance(error, storage.StorageError) and error.stops_run:
                raise
            named = str(error).startswith(f"{row['source']}: ")
            errors[id_of(row)] = str(error) if named else f"{row['source']}: {row['member']}: {error}"
    shown = {id_of(row): iiif.manifest(row, task.base, sizes[id_of(row)]) for row in rows if id_of(row) not in errors}
    storage.publish_all(
        task.folder, {f"{iiif.folder_of(photo_id)}/manifest.json": written(one) for photo_id, one in shown.items()}
    )
    return [(row["source"], errors.get(id_of(row)) or iiif.reference(shown[id_of(row)])) for row in rows]


def id_of(row: Row) -> str:
    return str(row["photo_id"])


def tiled(row: Row, task: Task) -> Any:
    """The sizes of a photo's pictures, if its tiles are there, of this result and for this address."""
    try:
        known = json.loads(storage.read_bytes(storage.join(task.folder, iiif.folder_of(id_of(row)), "tiles.json")))
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    return known["sizes"] if known["of"] == [row["restored_sha256"], task.base] else None


def tile(row: Row, data: bytes | ArchiveError, task: Task) -> Any:
    """Write the tiles of a photo; returns the sizes of its pictures. data: of the member. tiles.json comes last."""
    from pipeline.export.tiles import pyramids  # needs the decoders, which other exports do not

    if isinstance(data, ArchiveError):
        raise data
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise ArchiveError("changed since it was restored")
    after = storage.read_bytes(storage.join(task.output, photos.path_of(row, task.output)))
    place = iiif.folder_of(row["photo_id"])
    address = f"{task.base}/{place}"
    files, sizes = sandbox.run(pyramids, data, row["page"], after, address, task.limits, limits=task.limits)
    files["tiles.json"] = json.dumps({"of": [row["restored_sha256"], task.base], "sizes": sizes}).encode()
    storage.publish_all(storage.join(task.folder, place), files)
    return sizes


def written(shown: dict[str, Any]) -> bytes:
    return json.dumps(shown, ensure_ascii=False).encode()


class Collections:
    """Collects the items of each source into files of IN_COLLECTION."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._source = ""
        self._items: list[dict[str, Any]] = []
        self._written: list[dict[str, Any]] = []
        self._begun = 0  # photos of this source in collections that are written

    def add(self, source: str, item: dict[str, Any]) -> None:
        if source != self._source or len(self._items) == IN_COLLECTION:
            self._flush()
        if source != self._source:
            self._source, self._begun = source, 0
        self._items.append(item)

    def close(self) -> str:
        """Write the last collection and the top one; returns the URL of that. Further ones of an earlier export go."""
        self._flush()
        top: str = self._write("collection.json", "Restored photos", self._written)["id"]
        folder = storage.join(self._task.folder, "collections")
        there = [name for name, _ in storage.list_files(folder)] if storage.exists(folder) else []
        storage.remove_all(folder, [name for name in there if name > f"{len(self._written):06d}.json"])
        return top

    def _flush(self) -> None:
        if not self._items:
            return
        first, last = self._begun + 1, self._begun + len(self._items)
        words = f"{posixpath.basename(self._source.rstrip('/'))}, {first} to {last}"
        path = f"collections/{len(self._written) + 1:06d}.json"
        self._written.append(iiif.reference(self._write(path, words, self._items)))
        self._items, self._begun = [], last

    def _write(self, path: str, words: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        shown = iiif.collection(f"{self._task.base}/{path}", words, items)
        storage.publish(storage.join(self._task.folder, path), written(shown))
        return shown
