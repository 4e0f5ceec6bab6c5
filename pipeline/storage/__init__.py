"""Files anywhere: `from pipeline import storage`, then `storage.read_bytes(uri)` and so on."""

from pipeline.storage.addresses import public
from pipeline.storage.errors import StorageError
from pipeline.storage.listing import describe, entries, exists, glob, list_files, version
from pipeline.storage.pages import publish, publish_all
from pipeline.storage.places import below, canonical, folder_and_name, join
from pipeline.storage.reading import ShortReadError, arrow_filesystem, check_open, open_stream, read_bytes
from pipeline.storage.writing import (
    create_bytes,
    is_local,
    link_file,
    move,
    put_file,
    remove,
    remove_all,
    write_bytes,
    write_pieces,
)

__all__ = [
    "ShortReadError",
    "StorageError",
    "arrow_filesystem",
    "below",
    "canonical",
    "check_open",
    "create_bytes",
    "describe",
    "entries",
    "exists",
    "folder_and_name",
    "glob",
    "is_local",
    "join",
    "link_file",
    "list_files",
    "move",
    "open_stream",
    "public",
    "publish",
    "publish_all",
    "put_file",
    "read_bytes",
    "remove",
    "remove_all",
    "version",
    "write_bytes",
    "write_pieces",
]
