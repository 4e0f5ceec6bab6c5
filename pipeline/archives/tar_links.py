"""Hard links of a tar: a member that has no bytes of its own, but the name of an earlier one that has them."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipeline.archives.member import Member
from pipeline.archives.names import normal_path

LOST_LINK = "hard link"  # "compression" of a link whose target is not in front of it


def resolved(members: Iterable[Member]) -> Iterator[Member]:
    """The members, hard links with the place of the bytes that they stand for.

    A link whose target is no file in front of it becomes a file that cannot be read: its bytes are in no archive.
    """
    files = _Files()
    for member in members:
        if member.target is not None:
            member = files.behind(member)
        if member.kind == "file" and member.compression != LOST_LINK:
            files.add(member)
        yield member


class _Files:
    """Where the bytes of files are, by name; 32 bytes each, so that an archive of 10^7 members takes 320 MB.

    The index by name is built only where there is a hard link.
    """

    def __init__(self) -> None:
        self._names, self._offsets, self._sizes = array("Q"), array("Q"), array("Q")
        self._compressions = array("B")
        self._kinds = ["none"]
        self._rows: dict[int, int] = {}
        self._indexed = 0

    def add(self, member: Member) -> None:
        if member.compression not in self._kinds:
            self._kinds.append(member.compression)
        self._names.append(_digest(member.path))
        self._offsets.append(member.offset)
        self._sizes.append(member.bytes)
        self._compressions.append(self._kinds.index(member.compression))

    def behind(self, link: Member) -> Member:
        """The link as a file; of several targets with its name the last, which tar would extract."""
        for row in range(self._indexed, len(self._names)):
            self._rows[self._names[row]] = row
        self._indexed = len(self._names)
        row = self._rows.get(_digest(str(link.target)), -1)
        if row < 0:
            return replace(link, kind="file", compression=LOST_LINK, target=None)
        size, compression = self._sizes[row], self._kinds[self._compressions[row]]
        return Member(link.path, "file", size, self._offsets[row], size, compression)


def _digest(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(normal_path(path).encode(), digest_size=8).digest(), "big")
