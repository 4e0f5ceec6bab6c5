"""Before and after of a photo and of a face."""

from __future__ import annotations

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page
from tests.support.review_run import FLAGGED, WARNED


def test_compare_moves_the_line(page: Page) -> None:
    page.open_photo("hopper.jpg")
    page.until("Review.compare.after.image.naturalWidth === 512 && Review.compare.before.image.naturalWidth === 512")
    page.shot("compare")
    frame = page.driver.find_element("css selector", ".view:not(.other) .frame")
    quarter = frame.size["width"] // 4
    ActionChains(page.driver).move_to_element(frame).click_and_hold().move_by_offset(quarter, 0).release().perform()
    assert 73 <= float(page.run("Review.compare.range.value")) <= 77
    assert page.run("Review.compare.after.node.style.clipPath").startswith("inset(0px 0px 0px 7")
    page.press(Keys.ARROW_LEFT)  # the range has the focus
    assert 72 <= float(page.run("Review.compare.range.value")) <= 76
    page.press("b")
    assert page.run("Review.compare.range.value") == "0"
    fitted = page.run("Review.compare.frame.clientWidth")
    page.press("f")
    assert page.run("Review.compare.frame.clientWidth") == 512 * -(-fitted // 512)


def test_a_face_is_compared_in_its_own_pixels(page: Page) -> None:
    page.open_photo("pair.png")
    page.until("document.querySelectorAll('.box').length === 2")
    assert WARNED in page.text(".aside")
    page.shot("faces")
    page.click(".box.flagged")
    page.until("Review.compare.after.image.src.endsWith('/1_after.jpg') && Review.compare.after.image.naturalWidth > 0")
    assert page.run("Review.compare.after.image.naturalWidth") == 342  # 84 px between the eyes, 126 in a crop of 512
    assert FLAGGED in page.text(".aside")
    assert "16 dB" in page.text(".aside")
    page.shot("face")


def test_a_photo_that_failed_says_why(page: Page) -> None:
    page.open("#/photo/0?status=failed")
    page.until("document.getElementById('review').open")
    assert page.text(".stage > .nothing") == "truncated: the file ends too early"


def test_a_finger_moves_the_line(page: Page) -> None:
    page.size(390, 844, mobile=True)
    page.open("#/photo/1?")
    page.until("document.getElementById('review').open && Review.compare.after.image.naturalWidth > 0")
    left, top, width, height = page.run(
        "(({left, top, width, height}) => [left, top, width, height])(Review.compare.frame.getBoundingClientRect())"
    )
    y = top + height / 3
    page.command("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": left + width / 2, "y": y}]})
    page.command("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": left + width / 4, "y": y}]})
    page.command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.until("Math.abs(Review.compare.range.value - 25) <= 2")


FRAME = "Review.compare.frame.getBoundingClientRect()"


def test_each_view_shows_both_sides(page: Page) -> None:
    page.open_photo("hopper.jpg")
    page.until("Review.compare.after.image.naturalWidth === 512")
    page.press_button("Side by side")
    page.shot("side-by-side")
    box = "(({left, width}) => [left, width])(Review.compare.{name}.getBoundingClientRect())"
    (left, width), (right, same) = (page.run(box.replace("{name}", name)) for name in ("other", "frame"))
    assert left + width <= right and width == same > 300
    page.press("v")
    assert page.run("getComputedStyle(Review.compare.after.node).mixBlendMode") == "difference"
    page.shot("difference")
    page.press_button("Flicker")
    shown = "getComputedStyle(Review.compare.after.node).visibility"
    page.until(f"{shown} === 'hidden'")
    page.until(f"{shown} === 'visible'")
    page.press_button("Slider")
    assert page.run("Review.compare.after.node.style.clipPath").endswith("50%)")


def test_the_wheel_enlarges_at_the_pointer_and_full_size_never_shrinks(page: Page) -> None:
    page.open_photo("pair.png")
    page.press("j")
    page.until("Review.compare.after.image.src.endsWith('/0_after.jpg') && Review.compare.after.image.naturalWidth > 0")
    fitted, natural = page.run("[Review.compare.frame.clientWidth, Review.compare.after.image.naturalWidth]")
    assert fitted > natural  # a small face is enlarged to fit
    page.press("f")
    assert page.run("Review.compare.frame.clientWidth") == natural * -(-fitted // natural) >= fitted
    page.press("f")
    left, top, width = page.run(f"(({{left, top, width}}) => [left, top, width])({FRAME})")
    x, y = left + width / 4, top + width / 4
    wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -400}
    page.command("Input.dispatchMouseEvent", wheel)
    page.until(f"Review.compare.frame.clientWidth > {fitted} * 1.5")
    now = page.run(f"(({{left, top, width}}) => [left, top, width])({FRAME})")
    assert abs((x - now[0]) / now[2] - 0.25) < 0.01 and abs((y - now[1]) / now[2] - 0.25) < 0.01
    page.shot("zoomed")
    page.command("Input.dispatchMouseEvent", wheel | {"deltaY": 2000})
    page.until(f"Review.compare.frame.clientWidth === {fitted}")
