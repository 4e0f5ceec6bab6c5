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

OTHERS = 0o077  # permissions of a file that are not its owner's


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
        about = file.stat()
        if about.st_mode & OTHERS and about.st_uid == os.getuid():
            file.chmod(stat.S_IMODE(about.st_mode) & ~OTHERS)
            words = "others could read it; now only you can. If others have accounts here, remove it for a new one"
            print(f"warning: {file}: {words}", file=sys.stderr, flush=True)
    except OSError as error:
        raise OwnError(
            f"{file}: Ray's token cannot be kept there ({one_line(error)}); set RAY_AUTH_TOKEN_PATH"
        ) from error


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

    Ray makes each of its own folders writable for all, so this folder contains them. Its path is short, because the
    path of a socket has at most 107 bytes (unix(7)).
    """
    above = Path(os.environ.get("RAY_TMPDIR") or gettempdir()) / f"interlcm-{os.getuid()}"
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
