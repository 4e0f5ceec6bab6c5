"""The corpus of hostile input: files that break, lie or explode, and what has to become of every member of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.pictures import coffee, encoded

# (member, status, error_type) as the rows must have it. "a|b": either will do, where codecs may differ in their words.
Expected = set[tuple[str, str, str]]


@dataclass(frozen=True)
class Case:
    """A file in a source folder. limits: fields of Limits that this case is about."""

    name: str
    file: str
    data: bytes
    expected: Expected
    limits: dict[str, Any] = field(default_factory=dict)


@functools.cache
def good() -> bytes:
    """A photo without a face, for the place beside a hostile one."""
    return encoded(coffee(48))


# What becomes of `good`.
GOOD = ("good.jpg", "no_face", "")


def groups() -> dict[str, Callable[[], Iterator[Case]]]:
    """The corpus in parts, each made when it is asked for: some take a second to pack."""
    from tests.corpus import hostile_archives, hostile_images, hostile_tars

    return hostile_images.GROUPS | hostile_archives.GROUPS | hostile_tars.GROUPS
