"""Addresses of files and folders: one spelling for each, and how they are joined."""

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline.storage.addresses import public
from pipeline.storage.client import filesystem


def canonical(uri: str) -> str:
    """One spelling for each place: an absolute path for local files, else protocol://path, without a final slash.

    An http(s) address has no query string, which is remembered for its requests. A key of S3 may have several slashes
    in a row, which are all kept: `s3://bucket/a//` is the folder of `a//b`.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    return uri_of(fs, path) if "s3" in fs.protocol else public(uri_of(fs, path)).rstrip("/")


def uri_of(fs: AbstractFileSystem, path: str) -> str:
    """The URI of a path; s3fs itself would take slashes away at its end."""
    return f"s3://{path}" if "s3" in fs.protocol else str(fs.unstrip_protocol(path))


def join(uri: str, *parts: str) -> str:
    """The URI of something below another one. Slashes around the parts do not matter."""
    base = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    return base + "/".join(part.strip("/") for part in parts)


def below(folder: str, path: str) -> str:
    """The URI of a file that `entries` found below a folder, spelled as `canonical` does: slashes are kept as they are,
    because `scans//a.jpg` and `scans/a.jpg` are two keys of S3."""
    return f"{folder}{path}" if folder.endswith("/") else f"{folder}/{path}"


def folder_and_name(uri: str) -> tuple[str, str]:
    """The folder that a file is in, and its name there; `below` joins them again."""
    name = uri.rpartition("/")[2]
    folder = uri.removesuffix(name)
    return folder if folder.endswith("//") or folder == "/" else folder.removesuffix("/"), name
