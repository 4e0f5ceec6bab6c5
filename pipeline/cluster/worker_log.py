"""The log of a worker of Ray: the photos that it begins, those that fail in it, and its retries of storage.

Ray keeps a worker's stderr on its machine, in logs/worker-*.err of the session, and the dashboard shows it. Elsewhere
nothing is logged: the stages run in the user's own process there.
"""

from __future__ import annotations

import logging
from functools import cache


@cache
def log() -> logging.Logger:
    """The project's logger, which from now on writes to stderr; once in each worker."""
    found = logging.getLogger("interlcm")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s interlcm %(message)s"))
    found.addHandler(handler)
    found.setLevel(logging.INFO)
    found.propagate = False
    return found
