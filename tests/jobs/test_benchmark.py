"""The benchmark commands: their counts add up. No test checks their times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.__main__ import app, main
from jobs.benchmark.figures import Live, markdown
from pipeline.benchmark.model import SIZES, parts


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
    """A tar needs one request of 4 KiB per header, a zip its directory, a tar.gz one read from end to end."""
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["growth", "--photos", "many"], "--photos many: give a number of 10 or more"),
        (["growth", "--photos", "1000,9"], "--photos 1000,9"),
        (["query", "--photos", "1000,"], "--photos 1000,: give a number of 1 or more"),
        (["pipeline", "--actors", "0"], "--actors 0: give a number of 1 or more"),
        (["growth", "--megabytes", "5:1"], "--megabytes 5:1: give a size"),
    ],
)
def test_wrong_numbers_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", *words])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_made_up_run_is_one_that_queries_understand(tmp_path: Path) -> None:
    found = tables(tmp_path, "query", "--photos", "2000")
    (resume,) = found["Resume: what remains"]
    assert (resume["index rows"], resume["left"]) == (2000, 200)
    assert {row["question"]: row["rows"] for row in found["Built-in queries"]} == {
        "--worst": 20,
        "--failures": 18,
        "--warnings": 0,
        "--review": 36,
        "--summary": 2,
    }


def test_a_row_is_printed_and_written_as_soon_as_it_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "figures.json"
    live = Live(str(to))
    for count in (1, 2):
        live.add("Faces", {"dtype": "bfloat16", "faces": count})
        assert capsys.readouterr().out.splitlines()[-1] == f"| bfloat16 | {count:5} |"
        assert [row["faces"] for row in json.loads(to.read_text())["tables"]["Faces"]] == [1, 2][:count]


def test_dtypes_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["benchmark", "model", "--dtypes", "float8", "--size", "tiny", "--device", "cpu"])
    assert "--dtypes float8: choose from float32, bfloat16, float16" in capsys.readouterr().err


def test_the_full_model_has_the_published_work() -> None:
    """The cost by the sizes of the layers: 6.9 TFLOP; parts that are computed once are counted once."""
    work = {row["part"]: row["TFLOP"] for row in parts(SIZES["full"])}
    assert work["VAE encoder"] == pytest.approx(1.117, rel=0.01)
    assert work["VAE decoder"] == pytest.approx(2.515, rel=0.01)
    assert work["spatial encoder: embedding of the crop"] == pytest.approx(0.0147, rel=0.01)
    assert work["spatial encoder and UNet, 3 steps"] == pytest.approx(3 * (0.803 + 0.283 - 0.0147), rel=0.01)
    assert work["all"] == pytest.approx(6.93 - 2 * 0.0147, rel=0.01)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_a_gpu_will_decide_can_be_tried_on_a_cpu(tmp_path: Path) -> None:
    """Each part of `make gpu-check` ends by itself, and every row that decides something is there."""
    words = [str(tmp_path), "--size", "tiny", "--faces", "1"]
    done = subprocess.run([sys.executable, "-m", "tests.scale.gpu_check", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    def rows(part: str, table: str) -> list[dict[str, Any]]:
        return list(json.loads((tmp_path / f"{part}.json").read_text())["tables"][table])

    assert [row["layout"] for row in rows("compile", "Sweep")][-1] == "channels last, compiled"
    assert rows("compile", "Sweep")[-1]["PSNR dB"] > 100
    assert [row["compiled"] for row in rows("compile", "Actor")][-1] == "yes"
    assert {(row["px"], row["micro-batch"]) for row in rows("finding", "Tiles")} == {(64, 1), (64, 2)}
    last = done.stdout.partition("== what this says about the defaults\n")[2]
    assert [line.partition(":")[0].partition(" (")[0] for line in last.splitlines()] == [
        "overlap", "overlap", "compile", "compile", "compile", "finding",
    ]  # fmt: skip
