"""The report in a real browser, opened from a disk as a curator would."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page
from tests.support.review_run import FLAGGED, HOSTILE, WARNED

ALL = "#/gallery?status=any"


def choose(page: Page, name: str, value: str) -> None:
    """Pick an option of the filter form, as a user does."""
    page.click(f"select[name={name}] option[value='{value}']")


def open_photo(page: Page, name: str) -> None:
    page.open("#/gallery")
    place = page.cards().index(name)
    page.click(f".card[data-place='{place}']")
    page.until("document.getElementById('review').open")


def test_the_overview_accounts_for_every_photo(page: Page) -> None:
    page.open()
    numbers = page.run("[...document.querySelectorAll('.term')].map((term) => term.textContent)")
    assert numbers == ["7indexed", "4restored", "1no face", "1skipped", "1failed", "0pending"]
    assert "truncated" in page.text("#overview")
    assert "1 face to review" in page.text("#overview")
    plots = page.run("[...document.querySelectorAll('.plot h3')].map((title) => title.textContent)")
    assert plots == ["PSNR", "Colour difference", "Sharpness", "Face size", "Faces in a photo"]
    assert page.run("[...document.querySelectorAll('.plot table')].every((table) => table.rows.length > 1)")
    page.shot("overview")


def test_a_term_of_the_equation_opens_its_photos(page: Page) -> None:
    page.open()
    page.click("a.term.failed")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["broken.jpg"]


def test_filters_narrow_and_the_address_keeps_them(page: Page) -> None:
    page.open(ALL)
    assert len(page.cards()) == 7
    choose(page, "status", "restored")
    page.until("Gallery.rows.length === 4")
    choose(page, "review", "yes")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["pair.png"]
    assert page.text(".count") == "1 of 7 photos"
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
    choose(page, "sort", "psnr")
    page.until("Gallery.query.includes('sort=psnr')")
    assert page.cards()[0] == "pair.png"
    choose(page, "descending", "1")
    page.until("Gallery.query.includes('descending')")
    assert page.cards()[:2] == ["hopper.jpg", "astronaut.jpg"]  # the pair has the same value and comes first
    choose(page, "status", "any")
    choose(page, "sort", "status")
    page.until("Gallery.query.includes('sort=status')")
    assert page.cards()[:2] == ["broken.jpg", "notes.txt"]


def test_names_of_members_are_text(page: Page) -> None:
    page.open(ALL)
    assert Path(HOSTILE).name in page.cards()
    open_photo(page, Path(HOSTILE).name)
    assert Path(HOSTILE).name == page.text("#review-title")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert page.driver.title == "out: restoration report"


def test_compare_moves_the_line(page: Page) -> None:
    open_photo(page, "hopper.jpg")
    page.until("Review.compare.after.naturalWidth === 512 && Review.compare.before.naturalWidth === 512")
    page.shot("compare")
    frame = page.driver.find_element("css selector", ".frame")
    quarter = frame.size["width"] // 4
    ActionChains(page.driver).move_to_element(frame).click_and_hold().move_by_offset(quarter, 0).release().perform()
    assert 73 <= float(page.run("Review.compare.range.value")) <= 77
    assert page.run("Review.compare.after.style.clipPath").startswith("inset(0px 0px 0px 7")
    page.press(Keys.ARROW_LEFT)  # the range has the focus
    assert 72 <= float(page.run("Review.compare.range.value")) <= 76
    page.press("b")
    assert page.run("Review.compare.range.value") == "0"
    page.press("z")
    assert page.run("Review.compare.frame.clientWidth") == 512


def test_a_face_is_compared_in_its_own_pixels(page: Page) -> None:
    open_photo(page, "pair.png")
    page.until("document.querySelectorAll('.box').length === 2")
    assert WARNED in page.text(".aside")
    page.shot("faces")
    page.click(".box.flagged")
    page.until("Review.compare.after.src.endsWith('/1_after.jpg') && Review.compare.after.naturalWidth > 0")
    assert page.run("Review.compare.after.naturalWidth") == 342  # 84 px between the eyes, 126 in a crop of 512
    assert FLAGGED in page.text(".aside")
    assert "16 dB" in page.text(".aside")
    page.shot("face")


def test_keyboard_alone_is_enough(page: Page) -> None:
    page.open("#/gallery")
    assert page.cards() == ["astronaut.jpg", "hopper.jpg", "pair.png", Path(HOSTILE).name]
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "a", Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    page.until("document.getElementById('review').open && Review.photo.member === 'box1/hopper.jpg'")
    page.press(Keys.ARROW_RIGHT)
    page.until("Review.photo.member === 'box2/pair.png'")
    page.press("j", "j", "r", "c", "too smooth, a jar", Keys.ESCAPE)
    page.until("!document.getElementById('review').open")
    assert page.run("document.activeElement.dataset.place") == "2"  # back at the photo on show
    kept = page.run("Decisions.sorted().map((one) => [one.face_index, one.decision, one.comment])")
    assert kept == [[None, "accept", ""], [1, "reject", "too smooth, a jar"]]


def test_decisions_outlive_a_reload_and_travel(page: Page, downloads: Path) -> None:
    open_photo(page, "hopper.jpg")
    page.click(".decide.accept")
    page.press("c")
    page.press('He said "fine", twice')
    page.press(Keys.ESCAPE)
    page.until("!document.getElementById('review').open")
    page.driver.refresh()
    page.until("document.querySelector('.badge.accept') !== null")
    page.shot("decided")
    page.click("#exchange-open")
    assert "1 accepted, 0 rejected, 1 comment" in page.text("#exchange")
    page.shot("decisions")
    exported = {kind: downloaded(page, downloads, kind) for kind in ("CSV", "JSON")}
    rows = list(csv.DictReader(exported["CSV"].read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["photo_id", "face_index", "decision", "comment", "decided_at"]
    assert rows[0] | {"photo_id": "", "decided_at": ""} == {
        "photo_id": "", "face_index": "", "decision": "accept", "comment": 'He said "fine", twice', "decided_at": "",
    }  # fmt: skip
    assert json.loads(exported["JSON"].read_text(encoding="utf-8")) == [{**rows[0], "face_index": None}]
    for file in exported.values():
        page.run("localStorage.clear()")
        page.open("#/gallery")
        page.cards()
        page.click("#exchange-open")
        page.driver.find_element("css selector", "#exchange input[type=file]").send_keys(str(file))
        page.until("document.querySelector('#exchange .state').textContent.includes('1 of 1 decision imported')")
        assert page.run("Decisions.sorted()[0].comment") == 'He said "fine", twice'


def downloaded(page: Page, downloads: Path, kind: str) -> Path:
    before = set(downloads.iterdir())
    button = next(
        b for b in page.driver.find_elements("css selector", "#exchange button") if b.text == f"Export {kind}"
    )
    button.click()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        new = [file for file in set(downloads.iterdir()) - before if file.suffix == f".{kind.lower()}"]
        if new:
            return new[0]
        time.sleep(0.05)
    raise AssertionError(f"no {kind} file was downloaded")


def test_a_file_that_is_no_export_is_refused(page: Page, tmp_path: Path) -> None:
    page.open("#/gallery")
    page.cards()
    page.click("#exchange-open")
    bad = {
        "a.csv": "photo_id,decision\r\nx,accept\r\n",
        "b.json": '[{"photo_id": "x", "decision": "maybe"}]',
        "c.csv": "",
    }
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
        page.driver.find_element("css selector", "#exchange input[type=file]").send_keys(str(tmp_path / name))
        page.until(f"document.querySelector('#exchange .state').textContent.startsWith('{name} was not imported')")
    assert page.run("Decisions.all.size") == 0


def test_undecided_photos_can_be_asked_for(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("r")
    page.until("Decisions.all.size === 1")
    choose(page, "decision", "open")
    page.until("Gallery.rows.length === 3")
    choose(page, "decision", "reject")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["astronaut.jpg"]


def test_a_photo_that_failed_says_why(page: Page) -> None:
    page.open("#/photo/0?status=failed")
    page.until("document.getElementById('review').open")
    assert page.text(".stage > .nothing") == "truncated: the file ends too early"


def test_nothing_is_asked_of_other_places(page: Page) -> None:
    page.asked()
    page.open()
    open_photo(page, "pair.png")
    page.press("j")
    page.until("Review.compare.after.naturalWidth > 0")
    asked = page.asked()
    inside = page.folder.as_uri()
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((inside, "data:,", "about:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["#/", "#/gallery?status=any", "#/photo/2?"])
def test_text_has_contrast_in_both_themes(page: Page, scheme: str, address: str) -> None:
    page.scheme(scheme)
    page.open(address)
    page.until("document.querySelector('.plot, .card .name') !== null")
    if "photo" in address:
        page.until("document.getElementById('review').open")
    page.shot(f"{scheme}-{address.strip('#/').partition('/')[0].partition('?')[0] or 'overview'}")
    poor = page.run(f"({CONTRAST})()")
    assert poor == []


# WCAG 2.2 success criterion 1.4.3: of every visible text, against the nearest painted background.
CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [255, 255, 255];
  };
  const dialog = document.querySelector('dialog[open]');
  const walker = document.createTreeWalker(dialog ?? document.body, NodeFilter.SHOW_TEXT);
  const poor = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.checkVisibility()) continue;
    if (node.closest('svg, .frame, script')) continue;
    const [one, other] = [luminance(parse(getComputedStyle(node).color)), luminance(ground(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.textContent, Math.round(ratio * 100) / 100]);
  }
  return poor;
}"""


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


@pytest.mark.parametrize("address", ["#/", "#/gallery", "#/photo/2?"])
def test_on_a_phone_nothing_hangs_over_the_side(page: Page, address: str) -> None:
    page.size(390, 844, mobile=True)
    page.open(address)
    page.until("document.querySelector('.plot, .card .name') !== null")
    if "photo" in address:
        page.until("document.getElementById('review').open && Review.compare.after.naturalWidth > 0")
    page.shot(f"phone-{address.strip('#/').partition('/')[0].rstrip('?') or 'overview'}")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("document.getElementById('review').scrollWidth") <= 390


def test_a_finger_moves_the_line(page: Page) -> None:
    page.size(390, 844, mobile=True)
    page.open("#/photo/1?")
    page.until("document.getElementById('review').open && Review.compare.after.naturalWidth > 0")
    left, top, width, height = page.run(
        "(({left, top, width, height}) => [left, top, width, height])(Review.compare.frame.getBoundingClientRect())"
    )
    y = top + height / 3
    page.command("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": left + width / 2, "y": y}]})
    page.command("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": left + width / 4, "y": y}]})
    page.command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.until("Math.abs(Review.compare.range.value - 25) <= 2")


def test_every_control_has_a_name(page: Page) -> None:
    page.open("#/photo/2?")
    page.until("document.getElementById('review').open")
    controls = "[...document.querySelectorAll('button, a, input, select, textarea, img, svg')]"
    named = "(c) => c.getAttribute('aria-label') || c.getAttribute('aria-labelledby') || c.textContent.trim()"
    named += " || c.labels?.length || c.getAttribute('alt') !== null"
    assert page.run(f"{controls}.filter((c) => !({named})(c)).map((c) => c.outerHTML)") == []
    assert page.run("document.querySelector('#review').getAttribute('aria-labelledby')") == "review-title"
    assert page.run("document.activeElement.id") == "review-title"


DAMAGED = [
    "{",
    "null",
    "7",
    "{}",
    "[]",
    '["accept"]',
    '["maybe", "2026-01-01T00:00:00Z", ""]',
    '["accept", 5, {}]',
    "\x00",
]


def test_damaged_values_in_the_browser_cost_nothing_but_themselves(page: Page) -> None:
    open_photo(page, "astronaut.jpg")
    page.press("a")
    page.until("Decisions.all.size === 1")
    for n, value in enumerate(DAMAGED):
        page.run(f"localStorage.setItem(Decisions.prefix + 'photo{n}/', {json.dumps(value)})")
    page.run('localStorage.setItem(Decisions.prefix + \'a/b/c\', \'["accept", "2026-01-01T00:00:00Z", ""]\')')
    page.run("['theme', 'shortcuts'].forEach((name) => localStorage.setItem(`interlcm:${name}`, '{'))")
    page.open(ALL)
    assert len(page.cards()) == 7
    assert page.run("Decisions.all.size") == 1
    assert f"{len(DAMAGED) + 1} decisions kept in this browser cannot be read" in page.text("body")
    page.run("window.dispatchEvent(new StorageEvent('storage', {key: Decisions.prefix + 'x/0', newValue: '{'}))")
    assert page.run("Decisions.all.size") == 1
    page.run("Decisions.clear()")
    assert page.run("Object.keys(localStorage).filter((key) => key.startsWith(Decisions.prefix)).length") == 0


def test_a_browser_that_keeps_nothing_shows_the_report(page: Page) -> None:
    refuses = (
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuses})
    try:
        open_photo(page, "astronaut.jpg")
        page.press("a")
        page.until("document.body.textContent.includes('This browser cannot store more decisions')")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("place", ["-5", "1.5", "1e9", "NaN"])
def test_an_address_of_no_photo_shows_one(page: Page, place: str) -> None:
    page.open(f"#/photo/{place}?status=any")
    page.until("document.getElementById('review').open && Review.photo !== undefined")
