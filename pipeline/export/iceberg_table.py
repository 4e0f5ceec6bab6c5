"""The metadata files of an Iceberg table in a folder, named as Hadoop tables name them: no catalogue is needed.

metadata/v<n>.metadata.json is the table after its n-th change, and version-hint.text has n. Two exports at once cannot
both write the same n. pyiceberg encodes all files; it has no writer for manifests of delete files, and no catalogue of
plain folders.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, update_table_metadata

from pipeline import storage
from pipeline.export.photos import ExportError

DATA, DELETED = DataFileContent.DATA, DataFileContent.POSITION_DELETES
NAMES = "schema.name-mapping.default"  # columns by name: the run's files do not number them
METADATA = re.compile(r"v([1-9]\d*)\.metadata\.json")
CODEC = "deflate"  # of manifests: every reader of Avro has it


def address(uri: str) -> str:
    """An absolute URI with its scheme, as every engine takes it."""
    return f"file://{uri}" if storage.is_local(uri) and "://" not in uri else uri


class Entries(dict[str, ManifestEntry]):
    """The files of a snapshot by URI."""

    def of(self, content: DataFileContent) -> set[str]:
        """The URIs of data files, or of delete files."""
        return {uri for uri, entry in self.items() if entry.data_file.content == content}


@dataclass
class Table:
    """A table in a folder: its metadata now, and the number of the newest metadata file; 0: it has none yet."""

    folder: str
    number: int
    stored: TableMetadata | None
    metadata: TableMetadata

    @staticmethod
    def of(folder: str, schema: Schema, properties: Mapping[str, str]) -> Table:
        """The table that is there, or a new one, with all columns of the schema. ExportError for one of a catalogue."""
        place = storage.join(folder, "metadata")
        files = [name for name, _ in storage.list_files(place)] if storage.exists(place) else []
        numbers = [int(match[1]) for name in files if (match := METADATA.fullmatch(name))]
        if not numbers:
            if any(name.endswith(".metadata.json") for name in files):
                raise ExportError(f"{folder}: a table of some catalogue; export into another folder")
            fresh = new_table_metadata(schema, UNPARTITIONED_PARTITION_SPEC, UNSORTED_SORT_ORDER, address(folder))
            return Table(folder, 0, None, _named(folder, fresh, schema, properties))
        newest = max(numbers)
        stored = FromInputFile.table_metadata(Storage().new_input(f"{place}/v{newest}.metadata.json"))
        return Table(folder, newest, stored, _named(folder, stored, schema, properties))

    @property
    def uri(self) -> str:
        """The newest metadata file."""
        return f"{address(self.folder)}/metadata/v{self.number}.metadata.json"

    def entries(self) -> Entries:
        """The files of the table."""
        current = self.metadata.current_snapshot()
        manifests = current.manifests(Storage()) if current else []
        found = [entry for one in manifests for entry in one.fetch_manifest_entry(Storage(), discard_deleted=True)]
        return Entries({entry.data_file.file_path: entry for entry in found})

    def commit(self, new: Mapping[str, DataFile], gone: Collection[str]) -> str:
        """Add files and take out others, as one snapshot; returns the URI of the newest metadata file."""
        if self.stored is not None and not new and not gone and self.metadata == self.stored:
            return self.uri
        snapshot = self._snapshot(new, gone)
        head = SetSnapshotRefUpdate(ref_name="main", type=SnapshotRefType.BRANCH, snapshot_id=snapshot.snapshot_id)
        updates, before = (AddSnapshotUpdate(snapshot=snapshot), head), self.uri if self.number else None
        metadata = update_table_metadata(self.metadata, updates, metadata_location=before)
        place = storage.join(self.folder, "metadata")
        uri = f"{place}/v{self.number + 1}.metadata.json"
        if not storage.create_bytes(uri, metadata.model_dump_json(exclude_none=True).encode()):
            raise ExportError(f"{uri}: another export wrote it meanwhile; start this one again")
        storage.write_bytes(f"{place}/version-hint.text", str(self.number + 1).encode())
        self.number, self.stored, self.metadata = self.number + 1, metadata, metadata
        return self.uri

    def _snapshot(self, new: Mapping[str, DataFile], gone: Collection[str]) -> Snapshot:
        number, parent = self.metadata.new_snapshot_id(), self.metadata.current_snapshot_id
        entries = self.entries()
        listed = [_entry(ManifestEntryStatus.ADDED, number, one) for one in new.values()]
        for uri, entry in entries.items():
            status = ManifestEntryStatus.DELETED if uri in gone else ManifestEntryStatus.EXISTING
            added = number if uri in gone else entry.snapshot_id
            order = (entry.sequence_number, entry.file_sequence_number)
            listed.append(_entry(status, added, entry.data_file, *order))
        manifests = [
            manifest for kind in (DATA, DELETED) if (manifest := self._manifest(kind, number, listed)) is not None
        ]
        uri, sequence = self._new(f"snap-{number}"), self.metadata.next_sequence_number()
        with write_manifest_list(2, Storage().new_output(uri), number, parent, sequence, CODEC) as writer:
            writer.add_manifests(manifests)
        operation = Operation.APPEND if not gone and all(one.content == DATA for one in new.values()) else None
        return Snapshot(
            snapshot_id=number, parent_snapshot_id=parent, sequence_number=sequence, manifest_list=uri,
            schema_id=self.metadata.current_schema_id, summary=Summary(operation or Operation.OVERWRITE),
        )  # fmt: skip

    def _manifest(self, kind: DataFileContent, number: int, entries: list[ManifestEntry]) -> ManifestFile | None:
        mine = [entry for entry in entries if entry.data_file.content == kind]
        if not mine:
            return None
        output = Storage().new_output(self._new("manifest"))
        with _Writer(kind, self.metadata, output, number) as writer:
            for entry in mine:
                writer.add_entry(entry)
        return writer.to_manifest_file()

    def _new(self, name: str) -> str:
        return f"{address(self.folder)}/metadata/{name}-{uuid.uuid4()}.avro"


def _named(folder: str, metadata: TableMetadata, schema: Schema, properties: Mapping[str, str]) -> TableMetadata:
    """The metadata with all columns of the schema, known by their names, and with these properties."""
    table = IcebergTable(("table",), metadata, f"{folder}/metadata", Storage(), NoopCatalog("folder"))
    change = table.transaction()
    with change.update_schema() as update:
        update.union_by_name(schema)
    names = change.table_metadata.schema().name_mapping.model_dump_json()
    wanted = {**properties, NAMES: names}
    if wanted.items() <= change.table_metadata.properties.items():
        return change.table_metadata
    return change.set_properties(wanted).table_metadata


def _entry(status: ManifestEntryStatus, snapshot: int | None, file: DataFile, *order: int | None) -> ManifestEntry:
    sequence, of_file = order or (None, None)
    known = {"sequence_number": sequence, "file_sequence_number": of_file}
    return ManifestEntry.from_args(status=status, snapshot_id=snapshot, data_file=file, **known)


class _Writer(ManifestWriterV2):
    """Writes a manifest of data files or of delete files."""

    def __init__(self, kind: DataFileContent, metadata: TableMetadata, output: OutputFile, number: int) -> None:
        super().__init__(metadata.spec(), metadata.schema(), output, number, CODEC)
        self._kind = kind

    def content(self) -> ManifestContent:
        return ManifestContent.DATA if self._kind == DATA else ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "data" if self._kind == DATA else "deletes"}


class Storage(FileIO):
    """The files of a table on this project's storage: small ones, read and written whole."""

    def new_input(self, location: str) -> InputFile:
        return _Input(location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise NotImplementedError("nothing of a table is deleted")


class _Input(InputFile):
    def __len__(self) -> int:
        return storage.describe(self.location)[1]

    def exists(self) -> bool:
        return storage.exists(self.location)

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(storage.read_bytes(self.location))


class _Output(OutputFile):
    def __len__(self) -> int:
        return storage.describe(self.location)[1]

    def exists(self) -> bool:
        return storage.exists(self.location)

    def to_input_file(self) -> InputFile:
        return _Input(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        return _Pending(self.location)


class _Pending(io.BytesIO):
    """Bytes that become a file when they are complete."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            storage.write_bytes(self._location, self.getvalue())
        super().close()
