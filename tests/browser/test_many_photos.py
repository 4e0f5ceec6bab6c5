"""A report on 100,000 photos: a view loads only what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.scale.report_scale import VIEWS, loaded, write
from tests.support.browser import Page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_view_of_100000_photos_loads_a_few_megabytes(chromium: WebDriver, artefacts: Path, tmp_path: Path) -> None:
    page = Page(chromium, write(str(tmp_path), 100_000), artefacts)
    for name, (address, shown) in VIEWS.items():
        files, size = loaded(page, address, shown)
        assert 3 < files < 60 and size < 10e6, name
        assert page.run("document.querySelectorAll('.card').length") < 200
        page.shot(f"many-{name.replace(' ', '-')}")
