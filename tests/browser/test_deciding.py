"""Deciding fast: keys, undo, many at once, the queue and its progress."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page
from tests.support.review_run import HOSTILE

LAST = Path(HOSTILE).name
SHOWN = "[...document.querySelectorAll('.tally .note')].map((one) => one.textContent)[0]"


def focus(page: Page) -> None:
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")


def test_keyboard_alone_is_enough(page: Page) -> None:
    page.open("#/gallery")
    assert page.cards() == ["astronaut.jpg", "hopper.jpg", "pair.png", LAST]
    focus(page)
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "a", Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    page.until("document.getElementById('review').open && Review.photo.member === 'box1/hopper.jpg'")
    page.press(Keys.ARROW_RIGHT)
    page.until("Review.photo.member === 'box2/pair.png'")
    page.press("j", "j", "c", "too smooth, a jar", Keys.ESCAPE, "r")
    page.until("Decisions.all.size === 2")
    page.press(Keys.ESCAPE)
    page.until("!document.getElementById('review').open")
    kept = page.run("Decisions.sorted().map((one) => [one.face_index, one.decision, one.comment])")
    assert kept == [[None, "accept", ""], [1, "reject", "too smooth, a jar"]]


def test_the_queue_leads_with_the_doubtful_and_decided_photos_leave_it(page: Page) -> None:
    page.open()
    page.press_button("To decide")
    assert page.cards()[0] == "pair.png"  # it has the flagged face
    assert page.run(SHOWN) == "0 of 4 decided"
    page.shot("queue")
    focus(page)
    page.press("a", "r")
    page.run("Gallery.deciding")
    assert len(page.cards()) == 2
    assert page.run(SHOWN) == "2 of 4 decided"
    assert "Undecided: 2 left" in page.text(".chips")
    assert page.run("document.activeElement.dataset.place") == "0"  # on the next one
    page.press("z")
    page.run("Gallery.deciding")
    assert page.run(SHOWN) == "1 of 4 decided"
    page.press(Keys.ENTER)
    page.until("document.getElementById('review').open")
    first = page.run("Review.photo.member")
    page.press("a", "a", "a")  # faster than photos load; each is about another photo
    page.until("!document.getElementById('review').open")
    assert page.run(SHOWN) == "4 of 4 decided"
    assert page.run("Decisions.sorted().filter((one) => one.decision === 'accept').length") == 4
    page.press("z")
    page.run("Gallery.deciding")
    page.until("Gallery.rows.length === 1")
    assert first != page.run("Photos.at(Gallery.rows[0]).then((photo) => photo.member)")


def test_faces_are_decided_one_after_the_other(page: Page) -> None:
    page.open_photo("pair.png")
    page.press("j", "a")
    page.until("Review.face === 1")
    page.press("r")
    page.until("Review.photo.member !== 'box2/pair.png'")
    assert page.run("[Verdicts.decided(2), Verdicts.rejected(2), Verdicts.accepted(2)]") == [True, True, False]
    page.press("z")
    page.until("Review.photo.member === 'box2/pair.png' && Review.face === 1")


def test_many_are_decided_together(page: Page) -> None:
    page.open("#/gallery?status=any")
    page.cards()
    first, third = (page.driver.find_element("css selector", f".card[data-place='{place}']") for place in (0, 2))
    actions = ActionChains(page.driver).key_down(Keys.SHIFT).click(third).key_up(Keys.SHIFT)
    actions.key_down(Keys.CONTROL).click(first).key_up(Keys.CONTROL).perform()
    page.until("Picks.all.size === 2")
    page.shot("selected")
    page.press_button("✗ Reject")
    page.until("Decisions.all.size === 2")
    assert page.run("[0, 1, 2].map((row) => Verdicts.rejected(row))") == [False, True, True]
    page.press_button("Select all 7 photos shown")
    page.until("Picks.all.size === 7")
    page.press("a")
    page.until("Decisions.all.size === 7")
    assert page.run("Decisions.sorted().every((one) => one.decision === 'accept')")
    page.press("z")
    page.until("Decisions.sorted().filter((one) => one.decision === 'reject').length === 2")


def test_undecided_photos_can_be_asked_for(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    focus(page)
    page.press("r")
    page.until("Decisions.all.size === 1")
    page.choose("decision", "open")
    page.until("Gallery.rows.length === 3")
    page.choose("decision", "reject")
    page.until("Gallery.rows.length === 1")
    assert page.cards() == ["astronaut.jpg"]


def test_faces_as_a_contact_sheet(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.press_button("Faces")
    page.until("Gallery.faces?.length === 5")
    page.until("document.querySelectorAll('.face').length === 5")
    page.shot("contact-sheet")
    chip = "getComputedStyle(document.querySelector('[data-chip=show-faces]'))"
    assert page.run(f"{chip}.backgroundColor") == "rgb(29, 90, 150)"  # also under the mouse, which is on it
    shown = "getComputedStyle(document.querySelector(\".card[data-place='3'] .face\")).backgroundPosition"
    assert page.run(shown) == "100% 100%"  # the second face of the pair, after
    card = page.driver.find_element("css selector", ".card[data-place='3']")
    ActionChains(page.driver).move_to_element(card).perform()
    assert page.run(shown) == "100% 0%"  # before
    card.click()
    page.until("document.getElementById('review').open && Review.face === 1")
    page.press("r")
    page.until("Review.photo.member !== 'box2/pair.png'")
    assert page.run("Decisions.sorted().map((one) => one.face_index)") == [1]
