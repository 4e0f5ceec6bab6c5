"""Spellings of member names: valid UTF-8, printable in a terminal, normal as a path."""

import re

# rclone's spelling of bytes that are not UTF-8: U+201B, then the byte in hexadecimal; U+201B itself is doubled.
# (https://rclone.org/overview/#encoding). A lone U+201B is the empty name.
_QUOTE = "\u201b"
_QUOTED = re.compile(f"{_QUOTE}({_QUOTE}|[0-9A-F]{{2}}|$)")
# Bytes of a name: Linux's limit for a path; S3 keys end at 1024. Pax and zip headers allow far more.
LONGEST_NAME = 4096


def escape_name(name: str) -> str:
    """A file name with surrogates (PEP 383: bytes not in UTF-8) as valid text. `unescape_name` undoes it."""
    if not name:
        return _QUOTE
    text = name.replace(_QUOTE, _QUOTE * 2)
    return re.sub("[\udc80-\udcff]", lambda match: f"{_QUOTE}{ord(match[0]) - 0xDC00:02X}", text)


def unescape_name(path: str) -> str:
    """The file name that `escape_name` spelled, with surrogates where its bytes are not UTF-8."""

    def original(match: re.Match[str]) -> str:
        code = match[1]
        return code if code in ("", _QUOTE) else chr(0xDC00 + int(code, 16))

    return _QUOTED.sub(original, path)


def printable(text: str) -> str:
    """Text with names from archives, safe for a terminal: characters that move its cursor become escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def normal_path(path: str) -> str:
    """Where a path leads: the same for "a.jpg", "./a.jpg" and ".//a.jpg", which tar keeps as typed."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
