"""Archives as people got them, where a folder of such cases lies beside the project; each case says what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.archives import contents, index_rows, index_sources, listed

CASES = Path(__file__).parents[4] / "shared" / "cases" / "formats"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")

READ = {
    "07-*/pzstd.tar.zst": ["pz/class.jpg", "pz/pad.bin"],
    "08-*/unicode_path.zip": ["Фото 1927 класс.jpg", "卒業写真.jpg"],
    "09-*/powershell5.zip": ["box1/1927/class.jpg", "box2/1927/class.jpg"],
    "13-*/hardlinks.tar": ["a/class.jpg", "b/class-copy.jpg"],
}


@pytest.mark.parametrize("case", READ)
def test_an_archive_is_read(case: str) -> None:
    (path,) = CASES.glob(case)
    members, error = listed(str(path))
    assert error is None
    found = contents(str(path), [member for member in members if member.kind == "file"])
    assert list(found) == READ[case]
    assert all(isinstance(data, bytes) and len(data) > 50_000 for data in found.values())


def test_a_split_zip_is_told_to_be_one(tmp_path: Path) -> None:
    (folder,) = CASES.glob("13-*")
    index_sources([str(folder / "vol.z01"), str(folder / "vol.zip")], str(tmp_path))
    rows = index_rows(tmp_path)
    assert [row["error_type"] for row in rows] == ["unsupported_archive"] * 2
    assert all("join its volumes" in row["error"] for row in rows)
