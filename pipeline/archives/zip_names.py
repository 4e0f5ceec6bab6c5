"""Names in a zip: in which code page they are, and what parts their folders (PKWARE APPNOTE 6.3.10)."""

import struct
import zlib
from contextlib import suppress

_UTF8 = 1 << 11  # general purpose bit, section 4.4.4
_UNICODE_PATH = 0x7075  # extra field, section 4.6.9
OEM = "cp437"  # appendix D: of a zip that says nothing


def decoded(raw: bytes, flags: int, extra: bytes, code_page: str) -> tuple[str, bool]:
    """The name as its writer meant it, and whether its code page is a guess.

    Bytes that are not in the stated encoding become surrogates. The UTF-8 bit counts first, then the Unicode path.
    Where the zip says nothing: `code_page` if it is not empty, else UTF-8, whose bit macOS and Info-ZIP omit, else code
    page 437, which is the guess.
    """
    if flags & _UTF8:
        return raw.decode("utf-8", "surrogateescape"), False
    for name in (_unicode_path(raw, extra), _tried(raw, code_page or "utf-8"), _tried(raw, "utf-8")):
        if name is not None:
            return name, False
    return raw.decode(OEM), True


def _tried(raw: bytes, code_page: str) -> str | None:
    with suppress(UnicodeDecodeError):
        return raw.decode(code_page)
    return None


def _unicode_path(raw: bytes, extra: bytes) -> str | None:
    """Version 1, the CRC-32 of the plain name, the name in UTF-8. A tool that renamed the member left an old one."""
    body = field(extra, _UNICODE_PATH)
    if len(body) <= 5 or body[0] != 1 or struct.unpack_from("<L", body, 1)[0] != zlib.crc32(raw):
        return None
    return _tried(body[5:], "utf-8")


def field(extra: bytes, wanted: int) -> bytes:
    """The content of the first extra field of a kind (section 4.5); empty where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""
