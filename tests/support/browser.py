"""A headless browser."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-device-scale-factor=1"),
)

AXE = (
    Path(__file__).parents[1] / "browser" / "axe" / "axe.min.js"
)  # axe-core 4.14.1 by Deque Systems, MPL-2.0, unchanged
FOUND = "axe.run(document, {resultTypes: ['violations'], preload: false}).then((found) => found.violations.map(told))"
TOLD = "(rule) => `${rule.id}: ${rule.nodes.map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`"


def start_browser(profile: Path, downloads: Path) -> WebDriver:
    """A headless Chromium with its data in `profile`."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Requests are only noted while a test asks for it, because that costs the browser time.
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": False, "enablePage": False})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)  # on a busy machine
    return driver


# Everything that a browser keeps of a page: nothing else is left of earlier tests.
FORGET = """(async () => {
    localStorage.clear();
    const bases = await indexedDB.databases();
    const gone = ({ name }) => new Promise((done, failed) => {
        const asking = indexedDB.deleteDatabase(name);
        [asking.onsuccess, asking.onerror] = [done, failed];
    });
    await Promise.all(bases.map(gone));
    if (arguments[0] !== null) localStorage.setItem("interlcm:reviewer", arguments[0]);
})()"""


class Page:
    """The report in the browser, as a test uses it."""

    visits = itertools.count(1)

    def __init__(self, driver: WebDriver, folder: Path, artefacts: Path, downloads: Path, address: str = "") -> None:
        """address: of the folder, if it is not opened from the disk."""
        self.driver, self.folder, self.artefacts, self.downloads = driver, folder, artefacts, downloads
        self.address = address or folder.as_uri()

    def open(self, address: str = "#/") -> None:
        # Numbered, because otherwise only the part after # may change, and nothing is loaded.
        self.driver.get(f"{self.address}/index.html?{next(self.visits)}{address}")

    def forget(self, reviewer: str | None = "Ada") -> None:
        """Forget what the browser keeps, except for the reviewer's name. The report is to be opened afterwards."""
        # An empty page of the same origin loads in no time. With an icon, or the browser would ask a server for one.
        (self.folder / "empty.html").write_text("<link rel='icon' href='data:,'>")
        self.driver.get(f"{self.address}/empty.html")
        self.run(FORGET, reviewer)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression, awaited."""
        return self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1]; (async () => ({script}))().then(done)", *arguments
        )

    def until(self, script: str) -> Any:
        """Wait for an expression to be true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 120).until(lambda _: self.run(script), message=script)

    def click(self, selector: str) -> None:
        self.until(f"!!document.querySelector({selector!r})")
        self.driver.find_element("css selector", selector).click()

    def choose(self, name: str, value: str) -> None:
        """Pick an option of the filter form, as a user does."""
        self.click(f"select[name={name}] option[value='{value}']")

    def open_photo(self, name: str) -> None:
        self.open("#/gallery")
        place = self.cards().index(name)
        self.click(f".card[data-place='{place}']")
        self.until("document.getElementById('review').open")

    def press_button(self, text: str) -> None:
        """Click the button or link with this text."""
        self.driver.find_element("xpath", f"//*[self::button or self::a][normalize-space()='{text}']").click()

    def downloaded(self, button: str) -> Path:
        """The file that a click on a button downloads."""
        before = set(self.downloads.iterdir())
        self.press_button(button)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            new = [file for file in set(self.downloads.iterdir()) - before if file.suffix in (".csv", ".json", ".html")]
            if new:
                return new[0]
            time.sleep(0.05)
        raise AssertionError(f"{button}: no file was downloaded")

    def imported(self, *files: Path) -> None:
        """Open the dialog of decisions and import these files there."""
        self.click("#exchange-open")
        self.until("document.getElementById('exchange').open")
        self.driver.find_element("css selector", "#exchange input[type=file]").send_keys("\n".join(map(str, files)))

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

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """The addresses that are requested inside this block, complete at its end."""
        self.driver.get_log("performance")  # type: ignore[attr-defined]
        self.command("Network.enable", {})
        asked: list[str] = []
        yield asked
        entries = self.driver.get_log("performance")  # type: ignore[attr-defined]
        events = [json.loads(entry["message"])["message"] for entry in entries]
        asked += [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        self.command("Network.disable", {})

    def shot(self, name: str) -> None:
        self.until("[...document.images].every((image) => image.complete)")
        self.driver.save_screenshot(str(self.artefacts / f"report-{name}.png"))

    def violations(self) -> list[str]:
        """What axe-core finds wrong on the page as it is now."""
        if not self.run("'axe' in window"):
            self.driver.execute_script(AXE.read_text(encoding="utf-8"))
        return list(self.run(f"((told) => {FOUND})({TOLD})"))

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        self.command("Emulation.setTouchEmulationEnabled", {"enabled": mobile})

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: dict[str, Any]) -> None:
        """The log of the DevTools protocol."""
        self.driver.execute_cdp_cmd(name, parameters)
