"""A headless Chromium and a report for it to show."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

from pipeline import report_pictures, storage
from pipeline.limits import Limits
from pipeline.report import write_report
from pipeline.report_data import Pictures
from pipeline.settings import Environment
from tests.review_run import write_run

PROGRAMS = ("chromium", "chromedriver")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-device-scale-factor=1"),
)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder report/ of a small run, with its pictures."""
    output = write_run(tmp_path_factory.mktemp("reviewed"))
    folder = storage.join(output, "report")
    task = report_pictures.Task(folder, 4096, Limits(), Environment({}))
    done = report_pictures.copy_unit(report_pictures.wanted(output, "all"), task)
    assert set(done["error"].to_pylist()) == {None}
    write_report(output, Pictures("all", 4096, {}))
    return Path(folder)


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


def start_browser(profile: Path, downloads: Path) -> WebDriver:
    """A headless Chromium that keeps its things in `profile`."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(20)
    return driver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[WebDriver]:
    """One browser for all tests. Without the programs: skipped, and a failure where CI is set."""
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
    """Where screenshots go, for people to look at: $ARTEFACTS, else .artefacts (which git ignores)."""
    folder = Path(os.environ.get("ARTEFACTS", ".artefacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Page:
    """The report in the browser, as a test uses it."""

    def __init__(self, driver: WebDriver, folder: Path, artefacts: Path) -> None:
        self.driver, self.folder, self.artefacts = driver, folder, artefacts

    def open(self, address: str = "#/") -> None:
        self.driver.get("about:blank")  # else only the part behind # changes, and nothing is loaded
        self.driver.get(f"{(self.folder / 'index.html').as_uri()}{address}")

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression, awaited."""
        return self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1]; (async () => ({script}))().then(done)", *arguments
        )

    def until(self, script: str) -> Any:
        """Wait for an expression to be true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 15).until(lambda _: self.run(script), message=script)

    def click(self, selector: str) -> None:
        self.until(f"!!document.querySelector({selector!r})")
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({selector!r}).textContent"))

    def cards(self) -> list[str]:
        """The names of the cards, in their order, once they are filled."""
        filled = "[...document.querySelectorAll('.card')].every((card) => card.textContent !== '')"
        self.until(f"Gallery.list?.ariaBusy === null && {filled}")
        names = "[...document.querySelectorAll('.card')].sort((a, b) => a.dataset.place - b.dataset.place)"
        return list(self.run(f"{names}.map((card) => card.querySelector('.name').textContent)"))

    def asked(self) -> list[str]:
        """The addresses that were asked for since this was called last."""
        entries = self.driver.get_log("performance")  # type: ignore[attr-defined]
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def shot(self, name: str) -> None:
        self.until("[...document.images].every((image) => image.complete)")
        self.driver.save_screenshot(str(self.artefacts / f"report-{name}.png"))

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        self.command("Emulation.setTouchEmulationEnabled", {"enabled": mobile})

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: dict[str, Any]) -> None:
        """Of the DevTools protocol."""
        self.driver.execute_cdp_cmd(name, parameters)


@pytest.fixture
def page(chromium: WebDriver, report: Path, artefacts: Path) -> Iterator[Page]:
    """The report, in a browser that remembers nothing of the test before. No console message may be left behind."""
    page = Page(chromium, report, artefacts)
    page.size(1280, 800)
    page.scheme("light")
    page.open()
    page.run("localStorage.clear()")
    chromium.get_log("browser")  # type: ignore[attr-defined]
    yield page
    assert chromium.get_log("browser") == []  # type: ignore[attr-defined]
