"""Sources: what the user names, and the archives in it."""

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline import storage
from pipeline.archives.names import escape_name
from pipeline.archives.reader import archive_format, named_like_archive
from pipeline.storage.files import StorageError


@dataclass(frozen=True)
class Source:
    """One archive. kind: "archive" (a file) or "folder". only: the folder's files to take, with their bytes."""

    uri: str
    kind: str
    only: tuple[tuple[str, int], ...] | None = None

    @property
    def name(self) -> str:
        """The last part of its URI: the name of a file, folder or bucket; never a name like ".."."""
        name = posixpath.basename(self.uri.rstrip("/"))
        return "root" if name in ("", ".", "..") else name

    @property
    def digest(self) -> str:
        """16 hex digits for the URI, for file names."""
        return hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    @property
    def part(self) -> str:
        """Distinguishes the index files of one folder if single photos of it were named."""
        if self.only is None:
            return ""
        names = "\0".join(escape_name(name) for name, _ in self.only)
        return "." + hashlib.sha256(names.encode()).hexdigest()[:8]

    @staticmethod
    def digest_in(index_file: str) -> str:
        """The digest of the source of an index file."""
        return index_file.removesuffix(".parquet").rsplit("-", 1)[1].split(".")[0]

    def holds(self, folder: str, path: str) -> bool:
        """Whether a file of this folder is below another folder (OUTPUT is not its own source); "" is no folder."""
        return bool(folder) and storage.join(self.uri, path).startswith(folder.rstrip("/") + "/")


def expand(sources: Sequence[str], output: str) -> list[Source]:
    """The archives in the sources, each once, in their order; single images come last.

    A source is an archive (recognised by its content), a folder (files that are named like archives are
    archives, all others its members), a pattern, or a single image (a member of its folder).
    Files below OUTPUT are left out. Raises StorageError for a source that is missing or empty.
    """
    named = [match for source in sources for match in _matches(source)]
    folders = [uri for uri, kind, _ in named if kind == "folder"]
    found: list[Source] = []
    for uri, kind, _ in named:
        if kind == "archive":
            found.append(_source(uri, "archive"))
        elif kind == "folder" and not _below(uri, folders):
            found += _of_folder(uri, output)
    photos = {uri: size for uri, kind, size in named if kind == "photo" and not _below(uri, folders)}
    found += _of_photos(photos)
    return list(dict.fromkeys(found))


def _matches(source: str) -> list[tuple[str, str, int]]:
    """The matches of a source: (URI, "folder"/"archive"/"photo", bytes). An existing file "a[1].jpg" is no pattern."""
    uri = storage.canonical(source)
    if not re.search(r"[*?\[]", uri) or storage.exists(uri):
        kind, size = storage.describe(uri)
        return [(uri, _kind(uri, kind, True), size)]
    matches = storage.glob(uri)
    if not matches:
        raise StorageError(f"{source}: matches nothing; check the pattern")
    return [(match, _kind(match, kind, False), size) for match, kind, size in matches]


def _kind(uri: str, kind: str, explicit: bool) -> str:
    """folder, archive or photo. For matches of a pattern, perhaps 10^6, the name alone decides."""
    if kind == "folder":
        return "folder"
    return "archive" if named_like_archive(uri) or explicit and archive_format(uri) else "photo"


def _of_folder(folder: str, output: str) -> Iterator[Source]:
    whole = _source(folder, "folder")
    loose = False
    archives: list[str] = []
    for path, kind, _ in storage.entries(folder):
        if whole.holds(output, path):
            continue
        if kind == "file" and named_like_archive(path):
            archives.append(path)
        else:
            loose = True
    if not loose and not archives:
        raise StorageError(f"{folder}: the folder holds no files; name the one that holds the photos")
    if loose:
        yield whole
    yield from (_source(storage.join(folder, path), "archive") for path in archives)


def _of_photos(photos: Mapping[str, int]) -> Iterator[Source]:
    folders: dict[str, list[tuple[str, int]]] = {}
    for uri, size in photos.items():
        folder, name = uri.rsplit("/", 1)
        folders.setdefault(folder or "/", []).append((name, size))
    for folder, files in folders.items():
        yield _source(folder, "folder", tuple(sorted(files)))


def _source(uri: str, kind: str, only: tuple[tuple[str, int], ...] | None = None) -> Source:
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"{uri!a}: its name is not UTF-8; rename it") from error
    return Source(uri, kind, only)


def _below(uri: str, folders: Sequence[str]) -> bool:
    return any(uri.startswith(folder.rstrip("/") + "/") for folder in folders)
