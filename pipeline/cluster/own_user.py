"""Close a cluster on this machine to other accounts: a token and a folder that only its user can read.

Ray 2.60 asks every client for its token by itself, but it makes the token's file readable for all, and its folder
(sockets, logs, code of jobs, spilled objects) writable for all. The third part, loopback, is in
`ray_private.on_loopback`.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir

from interlcm.errors import InterLCMError, one_line

OTHERS, WRITABLE = 0o077, 0o022  # permissions that are not the owner's: all, and those to write
LONGEST_SOCKET = 107  # bytes of the path of a socket (unix(7)); macOS has three less
IN_FOLDER = 70  # of these Ray adds: its session, with date and process, and the socket's name


class OwnError(InterLCMError):
    """A file or folder cannot be closed to other accounts: one line that names it."""


def token_file() -> Path:
    """Where Ray looks for its token: RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def keep_token() -> None:
    """Make Ray's token in a file that only its user can read. An existing file that others can read is closed to them.

    Call this before Ray starts, which would make the file with default permissions. Raises OwnError.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    file = token_file()
    try:
        if not file.exists():
            make_token(file)
        file.read_bytes()
        keep_to_user(file, OTHERS, "others could read it; if they have accounts here, remove it for a new one")
        keep_to_user(file.parent, WRITABLE, "others could put a token of theirs into it")
    except OSError as error:
        words = f"Ray's token cannot be kept there ({one_line(error)}); name another place in RAY_AUTH_TOKEN_PATH"
        raise OwnError(f"{file}: {words}") from error


def keep_to_user(path: Path, others: int, trouble: str) -> None:
    """Take these permissions from others, and say so. Raises OwnError for what another account owns."""
    about = path.stat()
    if about.st_uid not in (os.getuid(), 0):  # root may own it, as a mounted secret
        raise OwnError(f"{path}: belongs to another account; remove it, or name another place in RAY_AUTH_TOKEN_PATH")
    if about.st_mode & others and about.st_uid == os.getuid():
        path.chmod(stat.S_IMODE(about.st_mode) & ~others)
        print(f"warning: {path}: {trouble}; its permissions are mended", file=sys.stderr, flush=True)


def make_token(file: Path) -> None:
    """A new token. Its file appears complete, so that two runs that start together use the same token."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=file.parent, prefix=".auth_token-") as unfinished:  # its mode is 0600
        unfinished.write(secrets.token_hex(32))
        unfinished.flush()
        with suppress(FileExistsError):
            os.link(unfinished.name, file)


def folder() -> Path:
    """The folder for Ray's sockets, logs and spilled objects, which no other account can enter. Raises OwnError.

    Ray makes each of its own folders writable for all, so this folder contains them. If the path of the system's
    temporary folder is too long for sockets, it is in /tmp.
    """
    named, name = os.environ.get("RAY_TMPDIR"), f"interlcm-{os.getuid()}"
    above = Path(named or gettempdir()) / name
    if not named and too_long(above):
        above = Path("/tmp") / name
    if too_long(above):
        raise OwnError(f"RAY_TMPDIR={named}: too long for the paths of sockets; name a folder with a shorter path")
    try:
        above.mkdir(mode=0o700, exist_ok=True)
        about = above.lstat()
    except OSError as error:
        raise OwnError(f"{above}: no folder for Ray can be made there ({one_line(error)}); set RAY_TMPDIR") from error
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise OwnError(f"{above}: not a folder of yours; remove it, or set RAY_TMPDIR to a folder of your own")
    if about.st_mode & OTHERS:
        above.chmod(0o700)
    return above / "ray"


def too_long(above: Path) -> bool:
    return len(os.fsencode(above / "ray")) + IN_FOLDER > LONGEST_SOCKET
