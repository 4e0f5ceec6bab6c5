"""The Parquet files of an index."""

import re
from collections.abc import Sequence, Set
from itertools import count

from pipeline import storage
from pipeline.index.sources import Source
from pipeline.storage.output import Output

_INDEX_NAME = 80  # characters of an archive's name in the name of its index file, which may have 255 bytes


def index_files(
    found: Sequence[Source], output: str, present: Sequence[str], broken: Set[str] = frozenset()
) -> list[tuple[Source, str, str]]:
    """For each source to index: the source, its archive name, the URI of its index file.

    These are archives without an index file, archives whose index files are in `broken`, and folders: they are listed
    again, and their new files go into a further index file.

    present: the names of the index files that are there.

    The archive name is the source's own; if another source has it already, a part of the digest follows.
    """
    owners = {file.rsplit("-", 1)[0].casefold(): Source.digest_in(file) for file in present}
    finished = set(present) - broken
    files = []
    for source in found:
        name = source.name
        if owners.get(_stem(name).casefold(), source.digest) != source.digest:
            name = f"{name}-{source.digest[:8]}"
        owners[_stem(name).casefold()] = source.digest
        file = f"{_stem(name)}-{source.digest}{source.part}.parquet"
        if source.kind == "folder" and source.only is None:
            file = _next_part(file, finished)
        if file not in finished or source.kind == "folder":
            files.append((source, name, storage.join(Output(output).index, file)))
    return files


def _next_part(file: str, finished: Set[str]) -> str:
    """The first of a.parquet, a.1.parquet, a.2.parquet, ... that is not finished."""
    stem = file.removesuffix(".parquet")
    return next(name for n in count() if (name := f"{stem}.{n}.parquet" if n else file) not in finished)


def parquet_files(output: str) -> list[str]:
    """The names of the index files of a run; none where there is no run yet."""
    return [name for name, _ in Output(output).index_files()]


def _stem(name: str) -> str:
    """An archive's name, shortened for its index file. The end is kept, because it may hold the digest."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-_INDEX_NAME:]
