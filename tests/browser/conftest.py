"""A headless Chromium and a report for it to show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.config.secrets import Environment
from pipeline.report import pictures as report_pictures
from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from tests.support.browser import Page, start_browser
from tests.support.file_server import serve_folder
from tests.support.review_run import large_scan, write_run

MAX_SIDE = 65536
PROGRAMS = ("chromium", "chromedriver")


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder report/ of a small run, with its pictures."""
    return reported(write_run(tmp_path_factory.mktemp("reviewed")))


@pytest.fixture(scope="session")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder report/ of a run with a large scan."""
    return reported(write_run(tmp_path_factory.mktemp("large"), large_scan()))


def reported(output: str) -> Path:
    task = report_pictures.Task(output, MAX_SIDE, Limits(), Environment({}))
    done = report_pictures.copy_unit(report_pictures.wanted(output, "all"), task)
    assert set(done["error"].to_pylist()) == {None}
    write_report(output, Pictures("all", MAX_SIDE, {}))
    return Path(storage.join(output, "report"))


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[WebDriver]:
    """One browser for all tests. Without the programs, tests are skipped; if CI is set, they fail."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"no browser for the report's tests: {', '.join(missing)} not found; .ci/run installs them")
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (.ci/run lists the packages)")
    driver = start_browser(tmp_path_factory.mktemp("profile"), downloads)
    yield driver
    driver.quit()


@pytest.fixture
def artefacts() -> Path:
    """The folder for screenshots: $ARTEFACTS, else .artefacts (which git ignores)."""
    folder = Path(os.environ.get("ARTEFACTS", ".artefacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(chromium: WebDriver, report: Path, artefacts: Path, downloads: Path) -> Iterator[Page]:
    """The report, in a browser that knows its reviewer and nothing of earlier tests.

    The test fails if there are console messages.
    """
    yield from opened(Page(chromium, report, artefacts, downloads))


@pytest.fixture(params=["disk", "http"])
def large_page(
    request: pytest.FixtureRequest, chromium: WebDriver, large_report: Path, artefacts: Path, downloads: Path
) -> Iterator[Page]:
    """The same, of the report with a large scan, from a disk and from a web server."""
    with serve_folder(large_report.parent) as server:
        address = f"{server}/report" if request.param == "http" else ""
        yield from opened(Page(chromium, large_report, artefacts, downloads, address))


def opened(page: Page) -> Iterator[Page]:
    page.size(1280, 800)
    page.scheme("light")
    page.forget()
    page.driver.get_log("browser")  # type: ignore[attr-defined]
    yield page
    assert page.driver.get_log("browser") == []  # type: ignore[attr-defined]
