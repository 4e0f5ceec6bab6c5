"""Decisions as files: exported, read by the commands, imported, refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from pipeline.manifest import decisions
from tests.support.browser import Page

COLUMNS = [
    *("photo_id", "face_index", "decision", "comment", "decided_at", "reviewer", "restored_sha256"),
    *("box", "strength", "member"),
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
    assert page.run("Review.compare.after.node.style.opacity") == "0.6"
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
    assert "1 accepted, 1 rejected, 1 comment, 1 strength." in page.text("#exchange")
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
        "member": "box1/hopper.jpg",
    }  # fmt: skip
    assert face == {
        "photo_id": ids[2], "face_index": "0", "decision": "reject", "comment": "", "reviewer": "Ada",
        "restored_sha256": results[1], "box": "137 93 333 303", "strength": "0.6",
        "member": "box2/pair.png",
    }  # fmt: skip
    told = {row["photo_id"]: row for row in json.loads(exported["JSON"].read_text(encoding="utf-8"))}
    assert told[ids[2]] == {**rows[1], "face_index": 0, "box": [137, 93, 333, 303], "strength": 0.6}
    assert told[ids[1]]["box"] is None
    for number, file in enumerate(exported.values()):
        folder = tmp_path / str(number)
        (folder / "decisions").mkdir(parents=True)
        (folder / "decisions" / file.name).write_bytes(file.read_bytes())
        read = {row["photo_id"]: row for row in decisions.read_decisions(str(folder)).to_pylist()}  # as the commands do
        assert (read[ids[1]]["decision"], read[ids[1]]["comment"]) == ("accept", 'He said "fine", twice')
        assert (read[ids[2]]["decision"], read[ids[2]]["box"]) == ("reject", [137, 93, 333, 303])
        assert read[ids[2]]["strength"] == pytest.approx(0.6)
        page.forget()
        page.open("#/gallery")
        page.cards()
        page.imported(file)
        page.until("document.querySelector('#exchange .state').textContent.includes('2 of 2 decisions imported')")
        assert sorted(page.run("Decisions.sorted().map((one) => [one.comment, one.strength, one.box])")) == [
            ["", 0.6, [137, 93, 333, 303]],
            ['He said "fine", twice', None, None],
        ]


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
    names = {"=HYPERLINK(0)": "'=HYPERLINK(0)", "-a": "'-a", "@a": "'@a", "a-b.jpg": "a-b.jpg"}  # run by spreadsheets
    assert page.run("arguments[0].map((name) => Exchange.harmless(name))", list(names)) == list(names.values())
    assert page.run("Exchange.csv([{member: '=1'}])").endswith(",'=1\r\n")


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
