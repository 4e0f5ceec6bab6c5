"""How the test processes share the files: all that need a cluster go to one process, which starts each one once."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[2]
# How a test asks for the Ray cluster or the S3 server of tests/conftest.py. A file that is wrongly found, or missed,
# costs time and nothing else.
CLUSTERS = re.compile(r'\bray_cluster\b|\bCephGateway\b|bucket: str\b|getfixturevalue\("bucket"\)')


@cache
def group(file: str) -> str:
    return "clusters" if CLUSTERS.search((ROOT / file).read_text()) else file


class ByCluster(LoadFileScheduling):
    """Files in order, each as a whole in one process, and all files with a cluster in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return group(super()._split_scope(nodeid))
