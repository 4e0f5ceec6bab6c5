"""The package sent with a job, and a stream that breaks off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests.utils

from pipeline.cluster import dashboard, submission
from pipeline.cluster.submission import Jobs, StreamError, SubmissionError, source_tree


def test_a_stream_that_breaks_off_is_taken_up_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([["ab", "cd"], [], ["a"], ["abcde", "f"], ["abcdef", "g"]])

    def stream(self: Jobs, job_id: str) -> Iterator[str]:
        text = next(tries)
        yield from text
        if text != ["abcdef", "g"]:
            raise StreamError("cut")

    monkeypatch.setattr(Jobs, "_stream", stream)
    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    jobs = object.__new__(Jobs)
    jobs.address = "http://127.0.0.1:8265"
    assert list(jobs.follow("raysubmit_1")) == ["ab", "cd", "e", "f", "g"]
    tries = iter([["abcdef"], []])
    monkeypatch.setattr(submission, "LOST_SECONDS", -1.0)
    words = r"lost the connection to \S+ .cut., the job may go on; continue with interlcm submit logs raysubmit_1"
    with pytest.raises(SubmissionError, match=words):
        list(jobs.follow("raysubmit_1"))


def test_the_package_of_a_job(tmp_path: Path) -> None:
    """The package has this project's code and data, which run on their own and know their version."""
    from importlib.metadata import version

    with source_tree() as folder:
        files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        code = "import jobs.__main__, interlcm; from importlib.metadata import distribution as d; "
        code += (
            "print(jobs.__file__, interlcm.__file__, d('interlcm').locate_file('').resolve(), d('interlcm').version)"
        )
        run = [sys.executable, "-c", code]
        printed = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
        here = str(folder)
    assert printed == [f"{here}/jobs/__init__.py", f"{here}/interlcm/__init__.py", here, version("interlcm")]
    assert {path.parts[0] for path in files} == {
        "interlcm", "pipeline", "jobs", f"interlcm-{version('interlcm')}.dist-info",
    }  # fmt: skip
    assert Path("interlcm/demo_weights/model_index.json") in files
    assert Path("jobs/presets/demo.yaml") in files
    assert not [path for path in files if "__pycache__" in path.parts]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://localhost:8265", True),
        ("http://[::1]:8265", True),
        ("https://ray.example.org", True),
        ("http://ray.example.org:8265", False),
        ("http://10.0.0.7:8265", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_the_token_crosses_no_network_unencrypted(address: str, private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "asks_for_token", lambda address, headers: True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    monkeypatch.setenv("no_proxy", "intranet")
    monkeypatch.setattr(submission, "JobSubmissionClient", lambda address, headers: headers)
    if private:
        assert Jobs(address)._client == {"Authorization": "Bearer token"}
        return
    with pytest.raises(SubmissionError, match="would cross the network unencrypted; forward the port"):
        Jobs(address)


def test_no_proxy_sees_the_token_on_its_way_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "intranet")
    submission.check_private("http://127.0.0.1:8265")
    assert requests.utils.get_environ_proxies("http://127.0.0.1:8265/api/jobs/") == {}
    assert requests.utils.get_environ_proxies("http://example.org")["http"] == "http://proxy.example.org:3128"
