"""Spellings of member names: valid UTF-8, printable in a terminal, normal as a path."""

import hashlib
import re
import unicodedata

# rclone's spelling of bytes that are not UTF-8: U+201B, then the byte in hexadecimal; U+201B itself is doubled.
# (https://rclone.org/overview/#encoding). A lone U+201B is the empty name.
_QUOTE = "\u201b"
_QUOTED = re.compile(f"{_QUOTE}({_QUOTE}|[0-9A-F]{{2}}|$)")
# Bytes of a name: Linux's limit for a path; S3 keys end at 1024. Pax and zip headers allow far more.
LONGEST_NAME = 4096
# What a name that this project makes up has in it. `escape_name` doubles U+201B, so no member's name has it.
MARK = f"{_QUOTE}-"
LONGEST_PART = 255  # bytes of one part of a path on Linux and macOS
LONGEST_PATH = 800  # bytes of a path below restored/: keys of S3 end at 1024, OUTPUT included


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


def normal_path(path: str) -> str:
    """Where a path leads: the same for "a.jpg", "./a.jpg" and ".//a.jpg", which tar keeps as typed."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def folded_path(path: str) -> str:
    """The same for all paths that lead to one file where a file system folds case or Unicode forms (macOS, Windows), or
    drops dots and spaces at the end of a name (Windows, and disks that it shares)."""
    bare = "/".join(part.rstrip(". ") or part for part in normal_path(path).split("/"))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", bare).casefold())


def fitting(path: str, ending: str) -> str:
    """The path with its ending, each part short enough for a disk: a digest stands for the rest of a long one."""
    *folders, name = path.split("/")
    parts = [_shortened(part, "") for part in folders] + [_shortened(name, ending)]
    short = "/".join(parts)
    if len(short.encode()) <= LONGEST_PATH:
        return short
    return f"{MARK}{hashlib.sha256(path.encode()).hexdigest()[:20]}{ending}"


def _shortened(part: str, ending: str) -> str:
    if len(f"{part}{ending}".encode()) <= LONGEST_PART:
        return part + ending
    digest = f"{MARK}{hashlib.sha256(part.encode()).hexdigest()[:20]}"
    room = LONGEST_PART - len(f"{digest}{ending}".encode())
    return part.encode()[:room].decode(errors="ignore") + digest + ending
