"""A scan too large for a browser to show whole: its pixels come in tiles, before and after in step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page
from tests.support.pictures import Pixels, decoded
from tests.support.review_run import large_scan

TILES = "[...document.querySelectorAll('.{layer} .tiles img')].map((one) => one.src.split('/').slice(-3).join('/'))"
SETTLED = "[{layers}].every((one) => one.wanted.size > 0 && one.shown.size === one.ready.size)"
# Left and top of the view and of the photo in it, px of the screen.
PLACES = """[Review.compare.view, Review.compare.frame].flatMap((one) => {
    const { left, top } = one.getBoundingClientRect();
    return [left, top];
})"""


@pytest.fixture
def scan(large_page: Page) -> Page:
    large_page.open("#/photo/0?status=restored")
    large_page.until("document.getElementById('review').open && Review.compare.after.size !== null")
    return large_page


def settled(page: Page, *layers: str) -> None:
    page.until(SETTLED.replace("{layers}", ", ".join(f"Review.compare.{layer}" for layer in layers)))


def tiles(page: Page, layer: str) -> list[str]:
    return sorted(page.run(TILES.replace("{layer}", layer)))


def far_from(page: Page, photo: Pixels) -> float:
    """Mean difference of what the view shows at full size from the photo's own pixels there, of 255."""
    view_left, view_top, left, top = (round(n) for n in page.run(PLACES))
    x, y = max(view_left, left) + 20, max(view_top, top) + 60
    screen = decoded(page.driver.get_screenshot_as_png()).astype(int)
    shown = screen[y : y + 200, x : x + 400]
    return float(abs(shown - photo[y - top :, x - left :][:200, :400]).mean())


def test_it_is_zoomed_to_its_pixels_before_and_after_in_step(scan: Page) -> None:
    assert scan.run("Review.compare.size") == [9000, 600]
    assert tiles(scan, "before") == tiles(scan, "after") == []  # the whole is a picture of 4096 px
    assert scan.run("Review.compare.after.image.naturalWidth") == 4096
    scan.run("Review.compare.zoom.to(0.48)")
    settled(scan, "before", "after")
    half = ["13/0_0.jpg", "13/1_0.jpg", "13/2_0.jpg"]  # half as wide suffices
    assert set(tiles(scan, "after")) <= {f"after_files/{path}" for path in half}
    scan.press("+")
    assert scan.run("Review.compare.zoom.scale") == pytest.approx(0.72)
    scan.press("0", "f")
    settled(scan, "before", "after")
    assert scan.text(".scale") == "100 %"
    assert tiles(scan, "before") == ["before_files/14/1_0.jpg", "before_files/14/2_0.jpg"]
    assert tiles(scan, "after") == ["after_files/14/1_0.jpg", "after_files/14/2_0.jpg"]
    before, ((x, _, eyes),) = large_scan()["strip.png"]
    after = cv2.medianBlur(before, 7).astype(np.uint8)
    outline = scan.run("(({left, width}) => [left, width])(document.querySelector('.box').getBoundingClientRect())")
    assert outline == pytest.approx([scan.run(PLACES)[2] + x - 1.4 * eyes, 2.8 * eyes], abs=0.5)
    line = "Review.compare.line.getBoundingClientRect().left"
    left, _, *_ = scan.run(PLACES)
    middle = left + scan.run("Review.compare.view.clientWidth") / 2
    assert scan.run(line) == pytest.approx(middle, abs=2)  # it stays in view, wherever the photo is moved
    scan.press(Keys.ARROW_LEFT)
    scan.until(f"Math.abs({line} - {middle}) < 2 && Review.compare.view.scrollLeft < 4000")
    scan.press(Keys.ARROW_RIGHT)
    scan.run("Review.compare.split(100)")
    assert far_from(scan, before) < 8 < far_from(scan, after)
    scan.run("Review.compare.split(0)")
    assert far_from(scan, after) < 3 < far_from(scan, before)
    scan.shot("deep-zoom")
    assert scan.violations() == []
    scan.press("0")
    scan.until("Review.compare.before.shown.size + Review.compare.after.shown.size === 0")


def test_side_by_side_both_show_the_same_place(scan: Page) -> None:
    scan.press("f")
    scan.run("Review.compare.view.scrollTo(1e6, 1e6)")
    scan.press_button("Side by side")
    in_step = "(([one, other]) => one.scrollLeft === other.scrollLeft && one.scrollTop === other.scrollTop)"
    scan.until(f"Review.compare.view.scrollLeft > 4000 && {in_step}([Review.compare.view, Review.compare.otherView])")
    settled(scan, "beside", "after")
    place = scan.run("Review.compare.view.scrollLeft")
    scan.press(*[Keys.ARROW_LEFT] * 4, Keys.ARROW_DOWN)
    scan.until(f"Review.compare.view.scrollLeft < {place - 300}")
    settled(scan, "beside", "after")
    scan.until(f"{in_step}([Review.compare.view, Review.compare.otherView])")
    assert [one.replace("before", "after") for one in tiles(scan, "beside")] == tiles(scan, "after")
    assert tiles(scan, "before") == []  # behind the other one
    scan.shot("deep-zoom-side-by-side")
    scan.press_button("Difference")
    settled(scan, "before", "after")
    scan.shot("deep-zoom-difference")


@pytest.mark.parametrize("large_page", ["disk"], indirect=True)  # fingers are the same wherever tiles come from
def test_two_fingers_enlarge_on_a_phone(scan: Page) -> None:
    scan.size(390, 844, mobile=True)
    scan.open("#/photo/0?status=restored")
    scan.until("document.getElementById('review').open && Review.compare.after.size !== null")
    fitted = scan.run("Review.compare.zoom.shown")
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 170)):
        points = [{"x": 195 + side * apart, "y": 300, "id": n} for n, side in enumerate((-1, 1))]
        scan.command("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    scan.command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    scan.until(f"Review.compare.zoom.shown > 5 * {fitted}")
    for _ in range(8):
        scan.click(".sizes button[aria-label=Larger]")
    settled(scan, "before", "after")
    scan.shot("phone-deep-zoom")
    assert scan.violations() == []
    assert scan.run("document.getElementById('review').scrollWidth") <= 390
