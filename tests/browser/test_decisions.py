"""Decisions: who made them, withdrawn, in conflict, void, kept by the browser and by the run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from tests.support.browser import Page


def test_a_withdrawn_decision_is_a_row(page: Page) -> None:
    page.open_photo("hopper.jpg")
    page.press("a")
    page.until("Decisions.all.size === 1 && Review.photo.member === 'box2/pair.png'")
    page.press("z")
    page.until("Review.photo.member === 'box1/hopper.jpg'")
    page.run("Gallery.deciding")
    page.press(Keys.ESCAPE)
    page.until("!document.getElementById('review').open")
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    (row,) = csv.DictReader(page.downloaded("Export CSV").read_text(encoding="utf-8").splitlines())
    assert (row["decision"], row["reviewer"]) == ("", "Ada")


def test_the_reviewer_is_asked_once(page: Page) -> None:
    page.forget(reviewer=None)
    page.open("#/gallery")
    page.cards()
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("a")
    page.until("document.getElementById('who').open")
    page.shot("who")
    page.press("Grace Hopper", Keys.ENTER)
    page.until("Decisions.all.size === 1")
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("r")
    page.until("Decisions.all.size === 2")
    assert page.run("Decisions.sorted().map((one) => one.reviewer)") == ["Grace Hopper"] * 2


def test_reviewers_who_differ_are_shown_until_someone_settles_it(page: Page, tmp_path: Path) -> None:
    page.open("#/gallery")
    page.cards()
    photo_id = page.run("Photos.texts('ids')")[0]
    for name, decision, minute in (("Ben", "accept", 5), ("Cleo", "reject", 6)):
        columns = "photo_id,face_index,decision,comment,decided_at,reviewer"
        row = f"{photo_id},,{decision},,2026-01-02T00:0{minute}:00Z,{name}"
        (tmp_path / f"{name}.csv").write_text(f"{columns}\r\n{row}\r\n")
    page.imported(tmp_path / "Ben.csv", tmp_path / "Cleo.csv")
    page.until("document.querySelector('#exchange').textContent.includes('Reviewers differ on 1 photo or face')")
    page.shot("conflicts")
    page.press_button("Show")
    page.until("Gallery.rows.length === 1")
    page.click(".card")
    page.until("document.getElementById('review').open")
    assert "Ben accepted it on 2026-01-02 00:05 UTC. Cleo rejected it" in page.text(".aside")
    page.press("a")
    page.until("Decisions.conflicts().length === 0 && !document.getElementById('review').open")
    page.driver.refresh()
    page.until("Gallery.count?.textContent.startsWith('0 of')")
    assert page.run("Decisions.sorted().length") == 3  # all are exported, the newest counts


def test_decisions_of_the_run_are_there_when_the_report_opens(page: Page, tmp_path: Path) -> None:
    run = tmp_path / "out"
    shutil.copytree(page.folder.parent, run)
    page.open()
    photo_id = page.run("Photos.texts('ids')")[0]
    (run / "decisions").mkdir()
    text = f"photo_id,face_index,decision,comment,decided_at\r\n{photo_id},,accept,from Ben,2026-01-02T00:00:00Z\r\n"
    (run / "decisions" / "ben.csv").write_text(text)
    write_report(str(run), Pictures("none", 4096, {}))
    there = Page(page.driver, run / "report", page.artefacts, page.downloads)
    there.open("#/gallery?decision=open")
    assert len(there.cards()) == 3
    assert there.run("Decisions.sorted().map((one) => [one.decision, one.comment])") == [["accept", "from Ben"]]
    there.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    there.press("r", "z")
    there.run("Gallery.deciding")
    there.open("#/gallery?decision=open")
    assert len(there.cards()) == 3
    assert there.run("Decisions.all.size") == 2  # both kinds are there after a visit


def test_decisions_of_another_window_are_seen_when_this_one_is_used_again(page: Page) -> None:
    page.open("#/gallery?decision=open")
    page.cards()
    row = {"photo_id": page.run("Photos.texts('ids')")[0], "face_index": None, "decision": "accept", "comment": ""}
    row |= {"decided_at": "2026-01-02T00:00:00Z", "reviewer": "Ada"}
    page.run("Store.put([arguments[0]])", row)
    page.run("window.dispatchEvent(new Event('focus'))")
    page.until("Gallery.rows.length === 3")


def test_a_decision_on_an_earlier_result_does_not_count(page: Page, tmp_path: Path) -> None:
    page.open("#/gallery?decision=open")
    page.cards()
    photo_id = page.run("Photos.texts('ids')")[0]
    columns = "photo_id,face_index,decision,comment,decided_at,reviewer,restored_sha256"
    (tmp_path / "old.csv").write_text(f"{columns}\r\n{photo_id},,reject,,2026-01-02T00:00:00Z,Ben,{'0' * 64}\r\n")
    page.imported(tmp_path / "old.csv")
    page.until("Decisions.all.size === 1")
    assert page.run("[Gallery.rows.length, Verdicts.rejected(0)]") == [4, False]
    page.open("#/photo/0?")
    page.until("document.getElementById('review').open")
    assert "That was an earlier result" in page.text(".aside")


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
    page.open_photo("astronaut.jpg")
    page.press("a")
    page.until("Decisions.all.size === 1")
    for n, value in enumerate(DAMAGED):  # as a former version kept them
        page.run(f"localStorage.setItem(Store.prefix + 'photo{n}/', {json.dumps(value)})")
    page.run('localStorage.setItem(Store.prefix + \'a/b/c\', \'["accept", "2026-01-01T00:00:00Z", ""]\')')
    page.run('localStorage.setItem(Store.prefix + \'sound/0\', \'["accept", "2026-01-01T00:00:00Z", "so"]\')')
    page.run("Store.put([{photo_id: 'x', decision: 'maybe', reviewer: ''}])")
    names = "['theme', 'shortcuts', `plan:${Report.summary.run}`]"
    page.run(names + ".forEach((name) => localStorage.setItem(`interlcm:${name}`, '{'))")
    page.open("#/gallery?status=any")
    assert len(page.cards()) == 7
    assert page.run("Decisions.sorted().map((one) => one.comment).sort()") == ["", "so"]
    assert f"{len(DAMAGED) + 2} decisions kept in this browser cannot be read" in page.text("body")
    page.run("Decisions.clear()")
    page.open("#/gallery?status=any")
    page.cards()
    assert page.run("Decisions.all.size") == 0


def test_a_browser_that_keeps_nothing_shows_the_report(page: Page) -> None:
    refuses = "".join(
        f"Object.defineProperty(window, '{name}', {{get() {{ throw new DOMException('no', 'SecurityError'); }}}});"
        for name in ("localStorage", "indexedDB")
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuses})
    try:
        page.open_photo("astronaut.jpg")
        page.press("a")
        page.until("document.getElementById('who').open")
        page.press(Keys.ENTER)
        page.until("document.body.textContent.includes('This browser cannot store more decisions')")
        assert page.run("Decisions.all.size") == 1
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
