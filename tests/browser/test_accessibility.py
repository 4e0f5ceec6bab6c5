"""What people need who do not see or use the page as most do: axe-core's rules, contrast, phones, labels."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

VIEWS = {
    "overview": ("#/", "document.querySelector('.plot') !== null"),
    "gallery": ("#/gallery?status=any", "document.querySelector('.card .name') !== null"),
    "faces": ("#/gallery?show=faces", "document.querySelectorAll('.face').length === 5"),
    "photo": ("#/photo/2?", "document.getElementById('review').open && Review.compare.after.image.naturalWidth > 0"),
    "sampling": ("#/sampling", "document.querySelector('#sampling .plan') !== null"),
}


@pytest.mark.parametrize("width", [1280, 390])
def test_no_view_breaks_a_rule(page: Page, width: int) -> None:
    """On a desk in both colour schemes; a phone has the same colours."""
    phone = width < 500
    page.size(width, 844 if phone else 800, mobile=phone)
    for name, (address, shown) in VIEWS.items():
        page.open(address)
        page.until(shown)
        if name == "gallery":
            page.cards()
            page.run("Picks.toggle(0)")
        backgrounds = set()
        for scheme in ("light",) if phone else ("light", "dark"):
            page.scheme(scheme)
            backgrounds.add(page.run("getComputedStyle(document.body).backgroundColor"))
            page.shot(f"{'phone' if phone else scheme}-{name}")
            assert page.violations() == [], (name, scheme)
        assert len(backgrounds) == (1 if phone else 2)
        page.scheme("light")
        if phone:  # nothing hangs over the side
            assert page.run("document.documentElement.scrollWidth") <= width, name
            assert page.run("document.getElementById('review').scrollWidth") <= width, name


def test_dialogs_break_no_rule_and_take_the_focus(page: Page) -> None:
    page.open("#/photo/2?")
    page.until("document.getElementById('review').open")
    assert page.run("document.activeElement.id") == "review-title"
    page.open("#/gallery")
    page.cards()
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    assert page.violations() == []
    page.press_button("Close")
    page.run("(Reviewer.given = null, Reviewer.known(), 1)")
    page.until("document.getElementById('who').open")
    assert page.run("document.activeElement.name") == "reviewer"
    assert page.violations() == []
