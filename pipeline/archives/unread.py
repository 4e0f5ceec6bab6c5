"""Recognise archives of kinds that are not read, so that nobody takes them for damaged photos.

First bytes: https://en.wikipedia.org/wiki/List_of_file_signatures, and the manual page of libarchive-formats.
"""

from __future__ import annotations

import re

_STARTS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"WARC/": "a WARC file",
    b"MSCF\0\0\0\0": "a cabinet file",
    b"ISc(": "an InstallShield cabinet",
    b"MSWIM\0\0\0": "a WIM image",
    b"xar!": "a xar archive",
    b"070701": "a cpio archive",
    b"070702": "a cpio archive",
    b"070707": "a cpio archive",
    b"\xc7\x71": "a cpio archive",
    b"!<arch>\n": "an ar archive",
    b"\x60\xea": "an ARJ archive",
    b"SIT!": "a StuffIt archive",
    b"StuffIt": "a StuffIt archive",
    b"ALZ\x01": "an ALZ archive",
    b"EGGA": "an EGG archive",
    b"ZOO ": "a ZOO archive",
    b"hsqs": "a SquashFS image",
    b"LZIP": "an lzip file",
    b"]\0\0": "an lzma file",
    b"\x1f\x9d": "a compress file (.Z)",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"\x89LZO\0": "an lzop file",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"PK\7\x08": "a volume of a split zip",
    b"PK\3\4": "a zip archive",
    b"PK\5\6": "a zip archive",
}
_WITHIN = ((2, b"-lh", "an LHA archive"), (7, b"**ACE**", "an ACE archive"), (32769, b"CD001", "an ISO image"))
# By name alone: volumes behind the first one have no content to tell them by.
_NAMES = (
    (r"\.z\d\d", "a volume of a split zip"),
    (r"\.(7z|rar|zip|tar|tgz|tar\.gz)\.\d{2,4}", "a volume of a split archive"),
    (r"\.r\d\d", "a volume of a RAR archive"),
    (r"\.7z", "a 7z archive"),
    (r"\.rar", "a RAR archive"),
    (r"\.warc(\.gz)?", "a WARC file"),
    (r"\.(tar\.)?lzma|\.tlz", "an lzma file"),
    (r"\.(tar\.)?lz", "an lzip file"),
    (r"\.tar\.lz4", "an lz4 file"),
    (r"\.tar\.z|\.taz", "a compress file (.Z)"),
    (r"\.iso", "an ISO image"),
    (r"\.dmg", "a disk image of macOS"),
    (r"\.cab", "a cabinet file"),
    (r"\.wim", "a WIM image"),
    (r"\.(cpio|arj|ace|sitx?|lha|lzh|alz|egg|zoo|xar)", "an archive of that kind"),
)
_LIKE = [(re.compile(f".*(?:{ending})", re.IGNORECASE | re.DOTALL), what) for ending, what in _NAMES]
# How a zip begins that is a document: OpenDocument and EPUB, Office, Java and Android.
_DOCUMENTS = (b"mimetype", b"[Content_Types].xml", b"_rels/", b"docProps/", b"META-INF/", b"AndroidManifest.xml")
FIRST = 32774  # bytes from the start of a file that tell its kind


def kind_of(content: bytes) -> str | None:
    """The kind of archive that begins with these bytes, such as "a 7z archive"; None for tars and for other files.

    content: the first FIRST bytes of the file, or all of a shorter one.
    """
    if content.startswith(b"PK\3\4") and content[30:].startswith(_DOCUMENTS):
        return None
    found = next((what for start, what in _STARTS.items() if content.startswith(start)), None)
    return found or next((what for at, words, what in _WITHIN if content.startswith(words, at)), None)


def named_like(name: str) -> str | None:
    """The kind of archive that a file name stands for; None unless it is a kind that is not read."""
    return next((what for pattern, what in _LIKE if pattern.fullmatch(name)), None)
