"""Reports on 5,000 and 100,000 photos: a view loads only what it shows, and the queue works to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.scale.report_scale import VIEWS, decisions, loaded, write
from tests.support.browser import Page

DECIDED = 10  # in the gallery, and as many on photos


def review(page: Page, photos: int) -> None:
    """Open all views, then decide in the gallery and on photos, one by one and all together."""
    page.size(1280, 800)
    for name, (address, shown) in VIEWS.items():
        files, size = loaded(page, address, shown)
        assert 3 < files < 100 and size < 12e6, name
        assert page.run("document.querySelectorAll('.card').length") < 500
        page.shot(f"many-{name.replace(' ', '-')}")
    page.forget()
    for kind in ("gallery", "photo/0"):
        decisions(page, f"#/{kind}?decision=open&sort=doubt", DECIDED)
    restored = photos * 9 // 10
    assert page.run("[Decisions.all.size, Gallery.rows.length]") == [2 * DECIDED, restored - 2 * DECIDED]
    assert page.run("Gallery.scope.rows.filter((row) => Verdicts.decided(row)).length") == 2 * DECIDED
    page.open("#/gallery?decision=open&sort=doubt&search=0007/")
    page.until("Gallery.scope.rows.length === 90")
    page.run("Picks.everything()")
    page.run("Gallery.decide('accept')")
    assert page.run("Gallery.rows.length") == 0
    page.driver.refresh()
    page.until("Gallery.scope.rows.length === 90 && Gallery.rows.length === 0")


@pytest.mark.timeout(300)
def test_a_review_of_5000_photos(chromium: WebDriver, artefacts: Path, tmp_path: Path) -> None:
    page = Page(chromium, write(str(tmp_path), 5000, pictures=True), artefacts, tmp_path)
    review(page, 5000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_review_of_100000_photos(chromium: WebDriver, artefacts: Path, tmp_path: Path) -> None:
    page = Page(chromium, write(str(tmp_path), 100_000, pictures=False), artefacts, tmp_path)
    review(page, 100_000)
