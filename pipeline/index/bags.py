"""BagIt bags (RFC 8493): a folder with photos below data/, and a checksum for each of them in a manifest."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from pipeline import storage
from pipeline.archives.member import Member
from pipeline.archives.names import escape_name
from pipeline.archives.reader import named_like_archive

DECLARATION = "bagit.txt"
_ALGORITHMS = ("sha512", "sha384", "sha256", "sha1", "md5")  # the first of which there is a manifest is compared
_LINE = re.compile(r"([0-9A-Fa-f]+)[ \t]+\*?(?:\./)?(data/.+)")  # md5sum writes the asterisk
_ESCAPED = re.compile("%(0A|0D|25)", re.IGNORECASE)  # section 2.1.3
MISSING = "missing"  # "member_version" of a file that a manifest has and its bag has not


def outermost(folder: str, found: Iterable[str]) -> tuple[str, ...]:
    """The folders, of those below `folder` that hold a bagit.txt, that are bags; one in the payload of a bag is not."""
    bags: list[str] = []
    for root in sorted(found):
        inside = any(root.startswith(_within(bag, "data/")) for bag in bags)
        uri = storage.below(folder, _within(root, DECLARATION))
        if not inside and b"BagIt-Version" in storage.read_bytes(uri, 0, 64):
            bags.append(root)
    return tuple(bags)


def is_tag(bags: tuple[str, ...], path: str) -> bool:
    """Whether a file describes a bag, and is none of its payload."""
    for bag in bags:
        if path.startswith(_within(bag, "")):
            return not path.startswith(_within(bag, "data/"))
    return False


class Checksums:
    """What the manifests of the bags below a folder say. A path takes about 150 bytes: 64 bits stand for it.

    A manifest spells a percent sign %25. bagit-python and others of its age leave it as it is, so a line that would be
    of another name counts for the file of just this spelling, too.
    """

    def __init__(self, folder: str, bags: tuple[str, ...]) -> None:
        self._folder, self._bags = folder, bags
        self._algorithms = {bag: self._algorithm(bag) for bag in bags}
        self._sums: dict[int, str] = {}
        self._spelled: dict[int, int] = {}  # the key of a line's own spelling -> that of its path
        for path, spelled, text in self._lines():
            self._sums[_key(path)] = text
            if spelled != path:
                self._spelled[_key(spelled)] = _key(path)
        self._seen: set[int] = set()

    def of(self, path: str) -> str | None:
        """ "sha256:..." for a file below the folder; None if no manifest has it."""
        key = _key(path)
        key = key if key in self._sums else self._spelled.get(key, key)
        self._seen.add(key)
        return self._sums.get(key)

    def missing(self) -> Iterator[Member]:
        """The files that were not asked for by now, and are not archives, which are sources of their own."""
        if self._sums.keys() - self._seen:
            for path, _, text in self._lines():
                if _key(path) not in self._seen and not self._is_archive(path):
                    yield Member(escape_name(path), "missing", 0, 0, 0, version=MISSING, checksum=text)

    def _is_archive(self, path: str) -> bool:
        return named_like_archive(path) and storage.exists(storage.below(self._folder, path))

    def _algorithm(self, bag: str) -> str | None:
        names = [(name, storage.below(self._folder, _within(bag, f"manifest-{name}.txt"))) for name in _ALGORITHMS]
        return next((name for name, uri in names if storage.exists(uri)), None)

    def _lines(self) -> Iterator[tuple[str, str, str]]:
        """Path, its spelling in the manifest, and checksum of each line."""
        for bag, algorithm in self._algorithms.items():
            if algorithm is None:
                continue
            with storage.open_stream(storage.below(self._folder, _within(bag, f"manifest-{algorithm}.txt"))) as file:
                for line in file:
                    if found := _LINE.fullmatch(line.decode("utf-8-sig", "surrogateescape").rstrip("\r\n")):
                        path = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), found[2])
                        yield _within(bag, path), _within(bag, found[2]), f"{algorithm}:{found[1].lower()}"


def _within(bag: str, path: str) -> str:
    return f"{bag}/{path}" if bag else path


def _key(path: str) -> int:
    """The same for all Unicode forms of a path, which disks change."""
    text = unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
