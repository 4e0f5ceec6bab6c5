"""Acceptance sampling: plans against the published tables, the draw, the result, the sign-off."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from tests.support.browser import Page

# Lot, AQL -> letter of the lot, letter of the plan, sample, accept number. From ISO 2859-1, tables 1 and 2-A.
KNOWN = [
    (1201, 1.0, "K", "K", 125, 3),
    (3200, 1.0, "K", "K", 125, 3),
    (3201, 1.0, "L", "L", 200, 5),
    (1200, 2.5, "J", "J", 80, 5),
    (500, 0.65, "H", "J", 80, 1),  # down
    (280, 0.65, "G", "F", 20, 0),  # up
    (500, 4.0, "H", "H", 50, 5),
    (90, 0.1, "E", "K", 90, 0),  # down to a sample of 125, more than the lot
    (8, 6.5, "A", "A", 2, 0),
    (8, 10, "A", "C", 5, 1),
    (35000, 10, "M", "K", 125, 21),  # up, twice
    (600000, 0.025, "Q", "R", 2000, 1),
    (600000, 1.0, "Q", "Q", 1250, 21),
    (150000, 0.25, "N", "N", 500, 3),
]


def test_plans_are_those_of_the_standard(page: Page) -> None:
    page.open()
    fields = "[p.letter, p.used, p.sample, p.accept]"
    found = [page.run(f"((p) => {fields})(Sampling.plan({lot}, {aql}))") for lot, aql, *_ in KNOWN]
    assert found == [list(known) for _, _, *known in KNOWN]
    # Every lot and limit has a plan, and a larger limit never allows fewer defects at the same sample size.
    plans = page.run("LETTERS.flatMap(([n]) => AQLS.map((aql) => Sampling.plan(Math.min(n, 1e6), aql)))")
    assert all(plan["reject"] == plan["accept"] + 1 and 0 < plan["sample"] <= plan["lot"] for plan in plans)


def test_the_hash_is_sha256(page: Page) -> None:
    page.open()
    texts = ["", "abc", "é" * 40, "x" * 119, "x" * 120, "seed/0123456789abcdef"]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert page.run("arguments[0].map((text) => sha256(text))", texts) == digests


def test_a_sample_can_be_drawn_again_by_anybody(page: Page) -> None:
    page.open()
    ids = [f"{n:020x}" for n in range(3000)]
    drawn = page.run("Sampling.draw(arguments[0], 'seed', 125)", ids)
    assert drawn == sorted(ids, key=lambda one: hashlib.sha256(f"seed/{one}".encode()).hexdigest())[:125]


def test_a_plan_ends_with_a_result_and_a_sign_off(page: Page, tmp_path: Path) -> None:
    page.open("#/gallery?search=box")
    page.cards()
    page.press_button("Sampling")
    page.until("document.querySelector('#sampling .plan') !== null")
    assert 'restored photos with "box" in the path, 4 photos' in page.text("#sampling")
    page.click("select[name=aql] option[value='6.5']")
    assert page.text("#sampling .plan") == (
        "AQL 6.5 %: code letter A, sample of 2; accept with up to 0 defects, reject from 1"
    )
    page.shot("sampling-offer")
    page.press_button("Draw the sample")
    page.until("document.querySelector('#sampling .outcome') !== null")
    assert page.text("#sampling .outcome") == "open: 0 defects in 0 of 2, accept number 0"
    page.press_button("Judge the sample")
    page.until("Gallery.rows.length === 2")
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("a")
    page.until("Decisions.all.size === 1")
    page.run("Gallery.deciding")
    assert page.run("location.hash").startswith("#/gallery")
    page.press("a")
    page.until("location.hash === '#/sampling' && document.querySelector('.outcome.accepted') !== null")
    assert page.text("#sampling .outcome") == "accepted: 0 defects in 2, accept number 0"
    page.shot("sampling-accepted")
    html = page.downloaded("Export the sign-off").read_text(encoding="utf-8")
    digest, seed = page.run("[Report.summary.digest, Lot.plan.seed]")
    for words in (
        "accepted: 0 defects in 2, accept number 0",
        "Ada",
        digest,
        seed,
        "ISO 2859-1",
        *page.run("Lot.plan.ids"),
    ):
        assert words in html
    assert not any(word in html for word in ("http", "<img", "<script"))
    (tmp_path / "sign-off.html").write_text(html, encoding="utf-8")
    page.driver.get((tmp_path / "sign-off.html").as_uri())
    page.shot("sign-off")
    printed = base64.b64decode(page.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert printed.startswith(b"%PDF")
    (page.artefacts / "sign-off.pdf").write_bytes(printed)


def test_one_defect_too_many_rejects_the_lot(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.run("Lot.draw(Choices.standard(), 6.5, 'x')")
    page.open("#/gallery?sample=yes&decision=open")
    page.cards()
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("r")
    page.until("document.querySelector('.outcome.rejected') !== null")
    assert page.text("#sampling .outcome") == "rejected: 1 defect in 1 of 2, reject number 1"
