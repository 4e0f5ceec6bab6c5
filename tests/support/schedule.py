"""How the test processes share the files: those that share a cluster or a browser go to the process that starts it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[2]
# Group -> how its files ask for what they share: the Ray cluster or the S3 server of tests/conftest.py, or the browser
# of tests/browser/conftest.py. A file that is wrongly found, or missed, costs time and nothing else.
SHARED = {
    "clusters": re.compile(r'\bray_cluster\b|\bCephGateway\b|bucket: str\b|getfixturevalue\("bucket"\)'),
    "browser": re.compile(r"\bpage: Page\b|\bWebDriver\b"),
}


@cache
def group(file: str) -> str:
    text = (ROOT / file).read_text()
    return next((name for name, asked in SHARED.items() if asked.search(text)), file)


class ByWhatIsShared(LoadFileScheduling):
    """Files in order, each as a whole in one process, and those of a group in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return group(super()._split_scope(nodeid))
