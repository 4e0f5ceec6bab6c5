"""Real archives for tests, by tarfile and zipfile, on disk or in a memory file system that counts reads."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import storage
from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError, Member
from pipeline.config.limits import Limits
from pipeline.index.build import IndexSummary, build_index
from pipeline.index.schema import INDEX_SCHEMA
from pipeline.index.sources import expand

PHOTOS = {f"album/{n:02}.jpg": bytes([n]) * (40_000 + n) for n in range(6)}


class CountedFileSystem(MemoryFileSystem):
    """fsspec's memory:// under the name counted://, with the bytes and requests of its ranged reads."""

    protocol = "counted"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    bytes_read = requests = opened = 0

    @classmethod
    def reset(cls) -> None:
        cls.bytes_read = cls.requests = cls.opened = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("counted://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        data = bytes(super().cat_file(path, start, end, **kwargs))
        CountedFileSystem.bytes_read += len(data)
        CountedFileSystem.requests += 1
        return data

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        CountedFileSystem.opened += mode == "rb"
        return super()._open(path, mode, **kwargs)


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)


def tar_bytes(files: Mapping[str, bytes], mode: str = "w", format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these files, compressed as the mode says ("w:gz")."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode, format=format) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def zip_bytes(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these files."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def listed(uri: str) -> tuple[list[Member], ArchiveError | None]:
    """The members of an archive, and the error that ended the list."""
    members: list[Member] = []
    try:
        format = archives.archive_format(uri)
        assert format is not None
        for member in archives.list_members(uri, format, Limits()):
            members.append(member)
    except ArchiveError as error:
        return members, error
    return members, None


def contents(uri: str, members: list[Member]) -> dict[str, bytes | str]:
    """The bytes of members by path, or the error_type of those that cannot be read."""
    format = archives.archive_format(uri)
    assert format is not None
    found = archives.read_members(uri, format, members, Limits())
    return {member.path: data.error_type if isinstance(data, ArchiveError) else data for member, data in found}


def put(folder: str, name: str, data: bytes) -> str:
    """Write a file; returns its URI."""
    uri = storage.join(folder, name)
    storage.write_bytes(uri, data)
    return uri


def index_sources(sources: list[str], output: str) -> IndexSummary:
    """Index sources as a run does, with the default limits."""
    return build_index(expand(sources, output), output, Limits())


def index_rows(output: Path) -> list[dict[str, Any]]:
    """All rows of the index of OUTPUT; also checks their schema."""
    tables = [pq.read_table(path) for path in sorted((output / "index").glob("*.parquet"))]
    assert all(table.schema.equals(INDEX_SCHEMA, check_metadata=True) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def loose(folder: Path) -> str:
    """Write PHOTOS as files into a folder; returns its path."""
    for name, data in PHOTOS.items():
        put(str(folder), name, data)
    return str(folder)
