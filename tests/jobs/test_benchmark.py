"""The benchmark commands: what they measure adds up; how fast it was is never asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.figures import markdown


def tables(tmp_path: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run a benchmark; the tables of the JSON that it wrote."""
    to = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["benchmark", *arguments, "--to", str(to)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(to.read_text())
    assert record["machine"]["cores"] >= 1 and record["versions"]["ray"]
    for title, rows in record["tables"].items():
        assert f"{title}\n\n{markdown(rows)}\n" in result.output
    return dict(record["tables"])


def test_an_index_reads_headers_alone(tmp_path: Path) -> None:
    """Of a tar one request of 4 KiB for each header; of a zip the directory; a tar.gz once from end to end."""
    found = {row["archive"]: row for row in tables(tmp_path, "index", "--members", "40")["Index"]}
    assert [row["members"] for row in found.values()] == [40, 40, 40]
    assert found["tar"]["requests/member"] < 1.1
    assert found["tar"]["bytes read/member"] < 5000
    assert found["zip"]["requests/member"] < 0.1
    assert 100 <= found["tar.gz"]["share of the archive read %"] < 102  # its first 64 KiB twice


def test_a_table_goes_into_a_page_as_it_is() -> None:
    rows = [{"archive": "tar", "members/s": 12345.6, "n": 100_000}, {"archive": "zip", "members/s": 0.12345}]
    assert markdown(rows).splitlines() == [
        "| archive | members/s |       n |",
        "| ------- | --------: | ------: |",
        "| tar     |    12,346 | 100,000 |",
        "| zip     |     0.123 |         |",
    ]


def test_a_made_up_run_is_one_that_queries_understand(tmp_path: Path) -> None:
    found = tables(tmp_path, "query", "--photos", "2000")
    (resume,) = found["Resume: what is left to do"]
    assert (resume["index rows"], resume["left"]) == (2000, 200)
    assert {row["question"]: row["rows"] for row in found["Ready questions"]} == {
        "--worst": 20,
        "--failures": 18,
        "--review": 36,
        "--summary": 2,
    }
