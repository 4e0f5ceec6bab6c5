"""Keys of object storage that look like one path: each is a photo of its own, read from its own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.archives.names import unescape_name
from pipeline.archives.reader import read_rows
from pipeline.config.limits import Limits
from pipeline.stages.fetch import started
from pipeline.stages.names import restored_path
from tests.support.archives import index_rows, index_sources

KEYS = (
    "scans/a.jpg", "scans//a.jpg", "scans///a.jpg", "scans/./a.jpg", "scans/A.jpg", "scans/sub//b.jpg",
    "scans/sub/b.jpg", "scans/ a.jpg", "scans/a.jpg ", "scans/a%2Fb.jpg", "scans/a+b.jpg", "scans/a?versionId=1.jpg",
    "//scans/c.jpg",
)  # fmt: skip
SOURCES = {
    "bucket": ([""], KEYS),
    "folder": (["/scans"], [key for key in KEYS if key.startswith("scans/")]),
    "folder of no name": (["/scans//"], [key for key in KEYS if key.startswith("scans//")]),
    "photos": (["/scans//a.jpg", "/scans/a.jpg", "/scans///a.jpg"], ["scans//a.jpg", "scans/a.jpg", "scans///a.jpg"]),
    "a photo": (["/scans/sub//b.jpg"], ["scans/sub//b.jpg"]),
    "pattern": (["/scans//*.jpg"], ["scans//a.jpg"]),
}


@pytest.fixture(scope="module")
def keys(module_bucket: str) -> str:
    for key in KEYS:
        storage.write_bytes(f"{module_bucket}/{key}", key.encode())
    return module_bucket


def places(rows: list[dict[str, Any]]) -> set[str]:
    """What each row reads; no two read the same."""
    found = [storage.below(row["source"], unescape_name(row["member"])) for row in rows]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("named", SOURCES)
def test_each_key_is_one_row_that_reads_it(named: str, keys: str, tmp_path: Path) -> None:
    sources, expected = SOURCES[named]
    index_sources([keys + source for source in sources], str(tmp_path))
    rows = index_rows(tmp_path)
    assert places(rows) == {f"{keys}/{key}" for key in expected}
    for row in rows:
        ((_, data),) = read_rows([row], Limits())
        assert data == storage.below(row["source"], unescape_name(row["member"])).removeprefix(f"{keys}/").encode()
        assert started(row)["status"] is None
    restored = {restored_path({**row, "page": 1, "pages": 1}, "jpeg").casefold() for row in rows}
    assert len(restored) == len(rows)
