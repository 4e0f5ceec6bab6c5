"""The columns of the index, and the names of photos and pages."""

import hashlib

import pyarrow as pa


def column(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    """A column of the index, the manifest, the decisions or an evaluation: its meaning and unit are its metadata."""
    return pa.field(name, kind, metadata={"description": description, "unit": unit})


INDEX_SCHEMA = pa.schema(
    [
        column("photo_id", pa.string(), "20 hex digits of SHA-256 over source, NUL, member, NUL, occurrence"),
        column("source", pa.string(), "URI of the archive or folder"),
        column("archive_name", pa.string(), "its folder under restored/, one for each source"),
        column("source_version", pa.string(), "size and digest (or time) of the archive's file; null for a folder"),
        column("archive_format", pa.string(), "tar, tar.gz, tar.bz2, tar.xz, tar.zst, zip or folder"),
        column("member", pa.string(), "path in the archive as it is there; empty: the archive itself"),
        column(
            "occurrence",
            pa.int32(),
            "0, or n for the n-th repetition of where a path leads, case and Unicode form folded",
            "count",
        ),
        column("kind", pa.string(), "file, directory, link or device; archive or removed when member is empty"),
        column("bytes", pa.int64(), "size when unpacked", "byte"),
        column("offset", pa.int64(), "where the data (tar) or the local header (zip) begins", "byte"),
        column("stored_bytes", pa.int64(), "size in the archive", "byte"),
        column("compression", pa.string(), "of the member: none, deflate, or an unsupported method"),
        column("crc32", pa.int64(), "CRC-32 of the data; null if the archive has none"),
        column("member_version", pa.string(), "size and digest (or time) of a folder's file; null in an archive"),
        column(
            "zip_names", pa.string(), "code page of names in a zip that does not say theirs (--zip-names); else null"
        ),
        column("checksum", pa.string(), "algorithm:digest, by the manifest of a BagIt bag; else null"),
        column("error_type", pa.string(), "why the archive, the rest of it or the member cannot be read; else null"),
        column("error", pa.string(), "the same in words; else null"),
    ]
)


def photo_id(source: str, member: str, occurrence: int) -> str:
    """The name of a row, the same in every run over the same source."""
    return hashlib.sha256(f"{source}\0{member}\0{occurrence}".encode()).hexdigest()[:20]


def page_id(root: str, page: int) -> str:
    """The photo_id of a member's page, from 1; the first page has that of the index row."""
    return root if page == 1 else f"{root}-p{page}"


def root_id(photo_id: str) -> str:
    """The photo_id of the index row that a page belongs to. ROOT_ID is the same in SQL."""
    return photo_id.partition("-p")[0]


PAGE = "-p[0-9]+$"  # what page_id adds, as a pattern
ROOT_ID = f"regexp_replace(photo_id, '{PAGE}', '')"
