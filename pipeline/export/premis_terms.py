"""Elements and terms of PREMIS: what `premis` builds its files of."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from pipeline.provenance.rdf import NOT_XML

Element = ElementTree.Element

VOCABULARIES = "http://id.loc.gov/vocabulary/preservation"
# Vocabulary -> term -> its code there.
CODES = {
    "eventType": {"modification": "mod", "replication": "rep", "appraisal": "app"},
    "eventOutcome": {"success": "suc", "warning": "war", "fail": "fai"},
    "eventRelatedAgentRole": {"executing program": "exe", "implementer": "imp"},
    "eventRelatedObjectRole": {"source": "sou", "outcome": "out"},
    "relationshipType": {"derivation": "der"},
    "relationshipSubType": {"has source": "hss"},
    "cryptographicHashFunctions": {"SHA-256": "sha256"},
    "agentType": {"software": "sof", "person": "per"},
}
# The types of this project's identifiers.
SOURCE, RESTORED, EVENT, AGENT, REVIEWER = (
    f"interlcm {kind}" for kind in ("source", "restored", "event", "agent", "reviewer")
)


def add(parent: Element, name: str, text: Any = None, **attributes: str) -> Element:
    element = ElementTree.SubElement(parent, f"premis:{name}", attributes)
    if text is not None:
        element.text = NOT_XML.sub("\ufffd", str(text))
    return element


def term(parent: Element, name: str, vocabulary: str, word: str) -> None:
    """A term of one of the CODES."""
    uri = f"{VOCABULARIES}/{vocabulary}"
    code = CODES[vocabulary][word]
    add(parent, name, word, authority=vocabulary, authorityURI=uri, valueURI=f"{uri}/{code}")


def identified(parent: Element, name: str, kind: str, value: str) -> Element:
    """An identifier, which has a type and a value."""
    element = add(parent, name)
    add(element, f"{name}Type", kind)
    add(element, f"{name}Value", value)
    return element


def file_object(root: Element, kind: str, value: str) -> Element:
    element = ElementTree.SubElement(root, "premis:object", {"xsi:type": "premis:file"})
    identified(element, "objectIdentifier", kind, value)
    return element


def fixity(parent: Element, sha256: str | None) -> None:
    if sha256 is not None:
        element = add(parent, "fixity")
        term(element, "messageDigestAlgorithm", "cryptographicHashFunctions", "SHA-256")
        add(element, "messageDigest", sha256)


def media_format(parent: Element, media_type: str) -> None:
    add(add(add(parent, "format"), "formatDesignation"), "formatName", media_type)


def stored(parent: Element, kind: str, value: str) -> None:
    location = add(add(parent, "storage"), "contentLocation")
    add(location, "contentLocationType", kind)
    add(location, "contentLocationValue", value)


def event_of(root: Element, name: str, kind: str, time: datetime) -> Element:
    event = add(root, "event")
    identified(event, "eventIdentifier", EVENT, name)
    term(event, "eventType", "eventType", kind)
    add(event, "eventDateTime", time.isoformat())
    return event


def detail(event: Element, text: str) -> None:
    add(add(event, "eventDetailInformation"), "eventDetail", text)


def note(known: Element, text: str) -> None:
    add(add(known, "eventOutcomeDetail"), "eventOutcomeDetailNote", text)
