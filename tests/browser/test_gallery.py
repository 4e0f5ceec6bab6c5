"""The gallery: selection, order, cards."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page
from tests.support.review_run import HOSTILE

ALL = "#/gallery?status=any"


def test_filters_narrow_and_the_address_keeps_them(page: Page) -> None:
    page.open(ALL)
    assert len(page.cards()) == 7
    page.choose("status", "restored")
    page.until("Gallery.rows.length === 4")
    page.choose("review", "yes")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["pair.png"]
    assert page.text(".card .detail") == "box2"  # the folder tells photos of one name apart
    assert page.text(".count") == "1 of 7 files"
    page.driver.refresh()
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["pair.png"]


def test_a_range_asks_for_one_face_that_satisfies_it(page: Page) -> None:
    page.open("#/gallery?psnr=..20")
    assert page.cards() == ["pair.png"]  # its second face
    page.open("#/gallery?psnr=..20&delta_e=..2.5")
    page.until("Gallery.count?.textContent.startsWith('0 of')")  # one face has the psnr, the other the delta_e
    page.open("#/gallery?psnr=20..&delta_e=..2.5&search=box1")
    assert page.cards() == ["astronaut.jpg", "hopper.jpg"]


def test_a_measure_is_added_in_the_form(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.click(".filters fieldset option[value=eye_distance]")
    page.driver.switch_to.active_element.send_keys("60", Keys.TAB)
    page.until("Gallery.rows.length === 3")
    page.shot("filter")


def test_sorting_uses_the_face_that_counts(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.choose("sort", "psnr")
    page.until("Gallery.query.includes('sort=psnr')")
    assert page.cards()[0] == "pair.png"
    page.choose("descending", "1")
    page.until("Gallery.query.includes('descending')")
    assert page.cards()[:2] == ["hopper.jpg", "astronaut.jpg"]  # the pair has the same value and comes first
    page.choose("status", "any")
    page.choose("sort", "status")
    page.until("Gallery.query.includes('sort=status')")
    assert page.cards()[:2] == ["broken.jpg", "notes.txt"]


def test_names_of_members_are_text(page: Page) -> None:
    page.open(ALL)
    assert Path(HOSTILE).name in page.cards()
    page.open_photo(Path(HOSTILE).name)
    assert Path(HOSTILE).name == page.text("#review-title")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert page.driver.title == "out: restoration report"


def test_an_address_of_no_photo_shows_one(page: Page) -> None:
    for place in ("-5", "1.5", "1e9", "NaN"):
        page.open(f"#/photo/{place}?status=any")
        page.until("document.getElementById('review').open && Review.photo !== undefined")


def test_the_search_knows_no_case_and_no_decomposition(page: Page) -> None:
    page.open()
    names = ["Mu\u0308nster/A.tif", "M\u00dcNSTER/b.tif", *"cdefg"]
    page.run("Photos.columns.set('names', Promise.resolve(arguments[0]))", names)
    for typed in ("m\u00fcnster", "MU\u0308NSTER"):
        found = page.run("chosen({...Choices.standard(), status: 'any', search: arguments[0]})", typed)
        assert found["rows"] == [0, 1]
