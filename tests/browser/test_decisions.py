"""Decisions: kept, exported, imported, in conflict, void."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from pipeline.manifest import decisions
from pipeline.report.build import write_report
from pipeline.report.data import Pictures
from tests.support.browser import Page

COLUMNS = [
    *("photo_id", "face_index", "decision", "comment", "decided_at", "reviewer", "restored_sha256"),
    *("box", "strength"),
]


def test_decisions_outlive_a_reload_and_travel(page: Page, tmp_path: Path) -> None:
    page.open_photo("hopper.jpg")
    page.press("c")
    page.press('He said "fine", twice')
    page.click(".decide.accept")
    page.until("Review.photo.member === 'box2/pair.png'")
    page.press("j")
    page.run("(Review.parts.decision.querySelector('[name=strength]').value = 60)")
    page.run("Review.parts.decision.querySelector('[name=strength]').dispatchEvent(new Event('input'))")
    assert page.run("Review.compare.after.style.opacity") == "0.6"
    page.shot("strength")
    page.run("Review.parts.decision.querySelector('[name=strength]').dispatchEvent(new Event('change'))")
    page.until("Decisions.all.size === 2")
    page.press("r", Keys.ESCAPE)
    page.until("!document.getElementById('review').open")
    page.driver.refresh()
    page.until("document.querySelector('.badge.accept') !== null")
    page.shot("decided")
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    assert "1 accepted, 1 rejected, 1 comment" in page.text("#exchange")
    page.shot("decisions")
    exported = {kind: page.downloaded(f"Export {kind}") for kind in ("CSV", "JSON")}
    rows = list(csv.DictReader(exported["CSV"].read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == COLUMNS
    ids = page.run("Photos.texts('ids')")
    results = {
        name: page.run(f"Photos.at({row}).then((photo) => photo.restored_sha256)") for row, name in ((1, 0), (2, 1))
    }
    rows.sort(key=lambda row: ids.index(row["photo_id"]))
    (whole, face) = [{name: row[name] for name in COLUMNS if name != "decided_at"} for row in rows]
    assert whole == {
        "photo_id": ids[1], "face_index": "", "decision": "accept", "comment": 'He said "fine", twice',
        "reviewer": "Ada", "restored_sha256": results[0], "box": "", "strength": "",
    }  # fmt: skip
    assert face == {
        "photo_id": ids[2], "face_index": "0", "decision": "reject", "comment": "", "reviewer": "Ada",
        "restored_sha256": results[1], "box": "137 93 333 303", "strength": "0.6",
    }  # fmt: skip
    told = {row["photo_id"]: row for row in json.loads(exported["JSON"].read_text(encoding="utf-8"))}
    assert told[ids[2]] == {**rows[1], "face_index": 0, "box": [137, 93, 333, 303], "strength": 0.6}
    assert told[ids[1]]["box"] is None
    for number, file in enumerate(exported.values()):
        folder = tmp_path / str(number)
        (folder / "decisions").mkdir(parents=True)
        (folder / "decisions" / file.name).write_bytes(file.read_bytes())
        read = {row["photo_id"]: row for row in decisions.read(str(folder)).to_pylist()}  # as the commands do
        assert (read[ids[1]]["decision"], read[ids[1]]["comment"]) == ("accept", 'He said "fine", twice')
        assert (read[ids[2]]["decision"], read[ids[2]]["box"]) == ("reject", [137, 93, 333, 303])
        assert read[ids[2]]["strength"] == pytest.approx(0.6)
        page.forget()
        page.open("#/gallery")
        page.cards()
        imported(page, file)
        page.until("document.querySelector('#exchange .state').textContent.includes('2 of 2 decisions imported')")
        assert sorted(page.run("Decisions.sorted().map((one) => [one.comment, one.strength, one.box])")) == [
            ["", 0.6, [137, 93, 333, 303]],
            ['He said "fine", twice', None, None],
        ]


def imported(page: Page, *files: Path) -> None:
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    page.driver.find_element("css selector", "#exchange input[type=file]").send_keys("\n".join(map(str, files)))


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
    imported(page, tmp_path / "Ben.csv", tmp_path / "Cleo.csv")
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
    imported(page, tmp_path / "old.csv")
    page.until("Decisions.all.size === 1")
    assert page.run("[Gallery.rows.length, Verdicts.rejected(0)]") == [4, False]
    page.open("#/photo/0?")
    page.until("document.getElementById('review').open")
    assert "That was an earlier result" in page.text(".aside")


def test_accepted_photos_are_listed(page: Page) -> None:
    page.open("#/gallery")
    page.cards()
    page.run("document.querySelector('.card[tabindex=\"0\"]').focus()")
    page.press("a", "r", "a")
    page.run("Gallery.deciding")
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    rows = list(csv.DictReader(page.downloaded("List of accepted photos").read_text(encoding="utf-8").splitlines()))
    assert [row["restored"] for row in rows] == [
        f"restored/scans.tar/{name}.png" for name in ("box1/astronaut.jpg", "box2/pair.png")
    ]


def test_a_file_that_is_no_export_is_refused(page: Page, tmp_path: Path) -> None:
    page.open("#/gallery")
    page.cards()
    page.click("#exchange-open")
    page.until("document.getElementById('exchange').open")
    bad = {
        "a.csv": "photo_id,decision\r\nx,accept\r\n",
        "b.json": '[{"photo_id": "x", "decision": "maybe"}]',
        "c.csv": "",
        "d.json": '[{"photo_id": "x", "decision": "accept", "decided_at": "2026-01-01T00:00:00Z", "strength": 2}]',
    }
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
        page.driver.find_element("css selector", "#exchange input[type=file]").send_keys(str(tmp_path / name))
        page.until(f"document.querySelector('#exchange .state').textContent.startsWith('{name} was not imported')")
    assert page.run("Decisions.all.size") == 0


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
