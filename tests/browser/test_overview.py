"""The first page of the report, and what it asks of other places."""

from __future__ import annotations

from tests.support.browser import Page


def test_the_overview_accounts_for_every_photo(page: Page) -> None:
    page.open()
    numbers = page.run("[...document.querySelectorAll('.term')].map((term) => term.textContent)")
    assert numbers == ["7indexed", "4restored", "1no face", "1skipped", "1failed", "0pending"]
    assert "truncated" in page.text("#overview")
    assert "1 face to review" in page.text("#overview")
    stages = page.run("[...document.querySelectorAll('#overview td:first-child')].map((cell) => cell.textContent)")
    assert stages[-4:] == ["fetch", "detect", "restore", "publish"]
    plots = page.run("[...document.querySelectorAll('.plot h3')].map((title) => title.textContent)")
    assert plots == ["PSNR", "Colour difference", "Sharpness", "Face size", "Faces in a photo"]
    assert page.run("[...document.querySelectorAll('.plot table')].every((table) => table.rows.length > 1)")
    page.shot("overview")


def test_a_term_of_the_equation_opens_its_photos(page: Page) -> None:
    page.open()
    page.click("a.term.failed")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["broken.jpg"]


def test_nothing_is_asked_of_other_places(page: Page) -> None:
    with page.listening() as asked:
        page.open()
        page.open_photo("pair.png")
        page.press("j")
        page.until("Review.compare.after.image.naturalWidth > 0")
    inside = page.folder.as_uri()
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((inside, "data:,", "about:"))] == []


def test_the_theme_button_wins_over_the_system(page: Page) -> None:
    page.scheme("dark")
    page.open()
    dark = page.run("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    light = page.run("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    assert page.text("#theme") == "Theme: light"
    page.driver.refresh()
    assert page.run("getComputedStyle(document.body).backgroundColor") == light
