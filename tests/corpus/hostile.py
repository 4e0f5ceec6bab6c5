"""The corpus of hostile input: broken, lying and exploding files, and the expected outcome of every member."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.pictures import coffee, encoded

# (member, status, error_type) that the rows must have. "a|b": either is right, if codecs report different errors.
Expected = set[tuple[str, str, str]]


@dataclass(frozen=True)
class Case:
    """A file in a source folder. limits: fields of Limits for this case."""

    name: str
    file: str
    data: bytes
    expected: Expected
    limits: dict[str, Any] = field(default_factory=dict)


@functools.cache
def good() -> bytes:
    """A photo without a face, to put beside a hostile one."""
    return encoded(coffee(48))


# The outcome of `good`.
GOOD = ("good.jpg", "no_face", "")


def groups() -> dict[str, Callable[[], Iterator[Case]]]:
    """The corpus in parts, each created on demand: some take a second to pack."""
    from tests.corpus import hostile_archives, hostile_images, hostile_tars

    return hostile_images.GROUPS | hostile_archives.GROUPS | hostile_tars.GROUPS
