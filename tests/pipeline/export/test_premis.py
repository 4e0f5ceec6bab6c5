"""PREMIS files: valid by the schema of the Library of Congress, and about the right photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from pipeline.export import photos, premis
from pipeline.export.premis import write_files
from pipeline.manifest import query
from tests.reference import ROOT
from tests.support.decided_run import COMMENT

NAMES = {"p": premis.NAMESPACE}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(ROOT / "tests" / "schemas" / "premis-v3-0.xsd"))


@pytest.fixture(scope="module")
def record(decided_run: str, schema: etree.XMLSchema, tmp_path_factory: pytest.TempPathFactory) -> etree._Element:
    folder = tmp_path_factory.mktemp("premis")
    assert sum(write_files(decided_run, str(folder))) == 5
    (file,) = folder.iterdir()
    assert file.name == "scans.tar-00001.xml"
    found = etree.parse(file)
    schema.assertValid(found)
    return found.getroot()


def test_files_of_an_earlier_export_that_had_more_go(decided_run: str, tmp_path: Path) -> None:
    for name in ("scans.tar-00002.xml", "scans.tar-00003.xml", "others.tar-00002.xml"):
        (tmp_path / name).write_text("of an earlier export")
    assert sum(write_files(decided_run, str(tmp_path))) == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == ["others.tar-00002.xml", "scans.tar-00001.xml"]


def texts(node: etree._Element, path: str) -> list[str]:
    return [str(one.text) for one in node.xpath(path, namespaces=NAMES)]


def test_the_schema_can_refuse(schema: etree.XMLSchema, record: etree._Element) -> None:
    other = etree.fromstring(etree.tostring(record))
    (other.find("p:event/p:eventDateTime", NAMES)).tag = "{http://www.loc.gov/premis/v3}eventDate"
    assert not schema.validate(other)


def test_each_photo_has_its_source_its_file_and_its_event(decided_run: str, record: etree._Element) -> None:
    with query.connect(decided_run) as connection:
        rows = query.run(connection, "SELECT * FROM newest WHERE status IN ('restored', 'failed')").to_pylist()
    kept = [row for row in rows if row["restored_sha256"] and "onerror" not in row["member"]]
    sums = texts(record, "//p:object/p:objectCharacteristics/p:fixity/p:messageDigest")
    assert sorted(sums) == sorted([row["sha256"] for row in rows] + [row["restored_sha256"] for row in kept])
    derived = "//p:object[p:relationship]/p:relationship/p:relatedObjectIdentifier/p:relatedObjectIdentifierValue"
    assert sorted(texts(record, derived)) == sorted(row["photo_id"] for row in kept)
    changed = [event for event in record.findall("p:event", NAMES) if texts(event, "p:eventType") == ["modification"]]
    outcomes = [texts(event, ".//p:eventOutcome")[0] for event in changed]
    assert sorted(outcomes) == ["fail", "success", "success", "success", "warning"]
    assert all(len(texts(event, "p:linkingAgentIdentifier/p:linkingAgentIdentifierValue")) == 1 for event in changed)


def test_a_doubtful_face_says_why(record: etree._Element) -> None:
    notes = texts(record, "//p:eventOutcomeDetailNote")
    (flagged,) = [note for note in notes if "needs review" in note]
    assert flagged.startswith("face 1 at xywh=659,91,235,252 px; detector score: 0.9; PSNR in dB: 16")


def test_decisions_are_appraisals(record: etree._Element) -> None:
    decided = [event for event in record.findall("p:event", NAMES) if texts(event, "p:eventType") == ["appraisal"]]
    outcomes = [
        (texts(event, ".//p:eventOutcome")[0], texts(event, ".//p:eventOutcomeDetailNote")) for event in decided
    ]
    assert sorted(outcomes) == [("accepted", []), ("rejected", []), ("rejected", [COMMENT])]


def test_every_link_leads_to_something(record: etree._Element) -> None:
    for kind in ("object", "event", "agent"):
        there = set(texts(record, f"//p:{kind}Identifier/p:{kind}IdentifierValue"))
        named = kind.capitalize()
        linked = set(texts(record, f"//p:linking{named}Identifier/p:linking{named}IdentifierValue"))
        assert linked and linked <= there
    assert len(set(texts(record, "//p:eventIdentifierValue"))) == len(texts(record, "//p:eventIdentifierValue"))
    values: set[str] = set()
    for node in record.iter():
        values |= {value for name, value in node.attrib.items() if name == "valueURI"}
    assert values and all(value.startswith("http://id.loc.gov/vocabulary/preservation/") for value in values)


def test_a_photo_that_goes_along_unchanged_is_a_replication(decided_run: str, schema: etree.XMLSchema) -> None:
    with query.streaming(decided_run) as rows:
        (chunk,) = photos.chunks(rows)
    (row,) = [row for row in chunk.rows.to_pylist() if row["status"] == "no_face"]
    assert premis.recorded([row]) == []
    copied = row | {"kept": True, "restored_uri": f"{decided_run}/restored/scans.tar/coffee.jpg"}
    for sha256, kind in ((row["sha256"], "replication"), ("0" * 64, "modification")):
        for aside in ({}, {"status": "withdrawn", "kept": False}):  # also when a curator rejected the copy
            found = etree.fromstring(premis.document([copied | {"restored_sha256": sha256} | aside], decided_run))
            schema.assertValid(found)
            assert texts(found, "//p:eventType") == [kind]
            (detail,) = texts(found, "//p:eventDetail")
            assert detail.startswith("No face to restore")


def test_of_rejected_faces_it_says_that_no_model_made_them(decided_run: str) -> None:
    with query.streaming(decided_run) as rows:
        (chunk,) = photos.chunks(rows)
    (row,) = [row for row in chunk.rows.to_pylist() if row["member"] == "box1/hopper.jpg"]
    assert premis.what_happened(row) == ("modification", premis.DETAIL)
    held = row | {"face_count": 0, "faces": [face | {"strength": 0.0} for face in row["faces"]]}
    assert premis.what_happened(held) == ("modification", premis.UNCHANGED)


def test_names_that_xml_cannot_hold(decided_run: str, schema: etree.XMLSchema) -> None:
    with query.streaming(decided_run) as rows:
        (chunk,) = photos.chunks(rows)
    table = [row | {"member": "bell\x07 & <tag>.jpg"} for row in chunk.rows.to_pylist()]
    schema.assertValid(etree.fromstring(premis.document(table, str(Path(decided_run)))))
