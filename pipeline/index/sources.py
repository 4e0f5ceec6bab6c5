"""Sources: what the user names, and the archives in it."""

import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pipeline import storage
from pipeline.archives.names import escape_name
from pipeline.archives.reader import is_archive, named_like_archive
from pipeline.index import bags
from pipeline.storage import addresses
from pipeline.storage.errors import StorageError
from pipeline.storage.output import is_run

_NO_SCHEME = re.compile(r"[^/\s:@]+:[^/\s@]+@")  # an address as scp and browsers take it, or a file's strange name


Match = tuple[str, str, int, str]  # URI, "folder", "archive" or "photo", bytes, version


@dataclass(frozen=True)
class Source:
    """One archive. kind: "archive" (a file) or "folder".

    only: just these files of the folder, with their bytes and versions. without: OUTPUTs of runs below the folder.
    bags: paths of the BagIt bags in a folder.
    code_page: of names in a zip that does not say theirs; empty: UTF-8 or code page 437.
    """

    uri: str
    kind: str
    only: tuple[tuple[str, int, str], ...] | None = None
    without: tuple[str, ...] = ()
    code_page: str = ""
    bags: tuple[str, ...] = ()

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
        names = "\0".join(escape_name(name) for name, *_ in self.only)
        return "." + hashlib.sha256(names.encode()).hexdigest()[:8]

    @staticmethod
    def digest_in(index_file: str) -> str:
        """The digest of the source of an index file."""
        return index_file.removesuffix(".parquet").rsplit("-", 1)[1].split(".")[0]

    def leaves_out(self, output: str, path: str) -> bool:
        """Whether a file of this folder belongs to OUTPUT, to the OUTPUT of an earlier run below the folder, or to what
        describes a bag."""
        if bags.is_tag(self.bags, path):
            return True
        uri = storage.below(self.uri, path)
        return any(uri.startswith(f"{place.rstrip('/')}/") for place in (output, *self.without) if place)


def expand(sources: Sequence[str], output: str, say: Callable[[str], None] = print) -> list[Source]:
    """The archives that the sources name, each once, in their order; single images come last.

    A source is an archive (told by its content), a folder (its files that are named like archives are archives, all
    others its members), a pattern, or a single image (a member of the folder that holds it). Whatever belongs to OUTPUT
    or to the OUTPUT of another run below a folder or pattern is left out, and `say` gets a line about it. Raises
    StorageError for a source that is missing or empty, and for one that is an OUTPUT itself.
    """
    addresses.check_distinct(sources)
    named = _once([match for source in sources for match in _matches(source, output, say)], say)
    folders = [uri for uri, kind, *_ in named if kind == "folder"]
    found: list[Source] = []
    for uri, kind, *_ in named:
        if kind == "archive":
            found.append(_source(uri, "archive"))
        elif kind == "folder" and not _below(uri, folders):
            found += _of_folder(uri, output, say)
    photos = {uri: state for uri, kind, *state in named if kind == "photo" and not _below(uri, folders)}
    found += _of_photos(photos)
    return list(dict.fromkeys(found))


def _once(named: list[Match], say: Callable[[str], None]) -> list[Match]:
    """The matches without those that are, or lie in, another one. `say` gets a line about them."""
    folder = cache(os.path.realpath)  # of perhaps 10^6 files in few folders
    real = [_real_place(uri, folder) for uri, *_ in named]
    folders = sorted({place for place, (_, kind, *_) in zip(real, named, strict=True) if kind == "folder"})
    seen: set[str] = set()
    kept, twice = [], []
    for place, match in zip(real, named, strict=True):
        inside = _below(place, folders)
        if place in seen or inside:
            twice.append(match[0])
        if place not in seen and not (inside and match[1] != "archive"):  # a folder's archives are sources, too
            kept.append(match)
        seen.add(place)
    if twice:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        say(f"named more than once, and indexed once: {twice[0]}{more}")
    return kept


def _real_place(uri: str, folder: Callable[[str], str]) -> str:
    """Where it leads: on a local disk without symbolic links. folder: `os.path.realpath` of a folder."""
    if not uri.startswith("/"):
        return uri
    place = posixpath.join(folder(posixpath.dirname(uri)), posixpath.basename(uri))
    return os.path.realpath(place) if os.path.islink(place) else place


def _matches(source: str, output: str, say: Callable[[str], None]) -> list[Match]:
    """What a source stands for: (URI, "folder"/"archive"/"photo", bytes, version). A file "a[1].jpg" is no pattern."""
    uri = storage.canonical(source)
    if _NO_SCHEME.match(source) and not storage.exists(source):
        raise StorageError("a source that looks like USER:PASSWORD@HOST is no file here; give its address without them")
    if not re.search(r"[*?\[]", uri) or storage.exists(uri):
        kind, size = storage.describe(uri)
        _check_no_device(uri, kind)
        if uri == output:
            raise StorageError(f"{uri}: source and OUTPUT are the same; name another OUTPUT")
        if kind == "folder" and is_run(uri):
            raise StorageError(f"{uri}: the OUTPUT of a run; name the folder in it that holds photos")
        return [(uri, _kind(uri, kind, True), size, storage.version(uri) if kind == "file" else "")]
    matches = _outside(uri, storage.glob(uri), output, say)
    if not matches:
        raise StorageError(f"{uri}: matches nothing; check the pattern")
    for match, kind, *_ in matches:
        _check_no_device(match, kind)
    return [(match, _kind(match, kind, False), size, version) for match, kind, size, version in matches]


def _check_no_device(uri: str, kind: str) -> None:
    if kind == "device":
        raise StorageError(f"{uri}: a device or a pipe; name a file, a folder or a pattern")


def _outside(
    pattern: str, matches: list[tuple[str, str, int, str]], output: str, say: Callable[[str], None]
) -> list[tuple[str, str, int, str]]:
    """The matches of a pattern that lie in no OUTPUT, unless the pattern itself names a folder in one."""
    fixed = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]
    runs = {output: True} if output else {}
    owners = {match[0]: _owner(match, fixed, runs) for match in matches}
    _say_left_out({owner for owner in owners.values() if owner}, say)
    return [match for match in matches if not owners[match[0]]]


def _owner(match: tuple[str, str, int, str], fixed: str, runs: dict[str, bool]) -> str | None:
    """The OUTPUT below `fixed` that a match is, or lies in. runs: what is known of folders so far."""
    uri, kind, *_ = match
    parts = uri.removeprefix(fixed).removeprefix("/").split("/")
    for depth in range(len(parts) if kind == "folder" else len(parts) - 1):
        place = storage.below(fixed or "/", "/".join(parts[: depth + 1]))
        if place not in runs:
            runs[place] = is_run(place)
        if runs[place]:
            return place
    return None


def _say_left_out(owners: set[str], say: Callable[[str], None]) -> None:
    for owner in sorted(owners):
        say(f"left out: {owner}, the OUTPUT of a run")


def _kind(uri: str, kind: str, explicit: bool) -> str:
    """folder, archive or photo. For matches of a pattern, perhaps 10^6, the name alone decides."""
    if kind == "folder":
        return "folder"
    return "archive" if named_like_archive(uri) or explicit and is_archive(uri) else "photo"


def _of_folder(folder: str, output: str, say: Callable[[str], None]) -> Iterator[Source]:
    archives, loose, runs, bagged = [], set(), set(), set()
    for path, kind, *_ in storage.entries(folder):
        if kind == "file" and posixpath.basename(path) == "run.json":
            runs.add(path.rpartition("/")[0])
        if kind == "file" and posixpath.basename(path) == bags.DECLARATION:
            bagged.add(path.rpartition("/")[0])
        if kind == "file" and named_like_archive(path):
            archives.append(path)
        else:
            loose.add(path.rpartition("/")[0])
    places = [storage.below(folder, path) for path in sorted(runs) if path]
    whole = _source(folder, "folder", without=tuple(place for place in places if is_run(place)))
    whole = replace(whole, bags=bags.outermost(folder, bagged))
    _say_left_out(set(whole.without), say)
    archives = [path for path in archives if not whole.leaves_out(output, path)]
    kept = any(not whole.leaves_out(output, f"{path}/x") for path in loose)
    if not kept and not archives:
        raise StorageError(f"{folder}: the folder holds no files; name the one that holds the photos")
    if kept:
        yield whole
    yield from (_source(storage.below(folder, path), "archive") for path in archives)


def _of_photos(photos: Mapping[str, Sequence[Any]]) -> Iterator[Source]:
    folders: dict[str, list[tuple[str, int, str]]] = {}
    for uri, (size, version) in photos.items():
        folder, name = storage.folder_and_name(uri)
        folders.setdefault(folder, []).append((name, size, version))
    for folder, files in folders.items():
        yield _source(folder, "folder", tuple(sorted(files)))


def _source(
    uri: str, kind: str, only: tuple[tuple[str, int, str], ...] | None = None, without: tuple[str, ...] = ()
) -> Source:
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"{uri!a}: its name is not UTF-8; rename it") from error
    return Source(uri, kind, only, without)


def _below(uri: str, folders: Sequence[str]) -> bool:
    return any(uri != folder and uri.startswith(storage.below(folder, "")) for folder in folders)
