"""PREMIS 3.0: what was done to photos, as preservation repositories record it.

For each photo two objects (the source, and the restored file if the export has it), the event of its restoration, and
an event for each decision of a curator; software and weights are an agent. Terms come from the vocabularies of the
Library of Congress (https://id.loc.gov/vocabulary/preservation). The event is `modification`, which makes a new file
from another one since the revision of 2017; a photo without a face that goes along unchanged is a `replication`; a
curator's decision is an `appraisal`, whose outcome is accepted or rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from pipeline import storage
from pipeline.cluster.spread import spread
from pipeline.config.secrets import Environment
from pipeline.export import photos
from pipeline.export import premis_terms as terms
from pipeline.export.photos import Chunk, Row, face_words, media_type, path_of, xywh
from pipeline.manifest import query
from pipeline.storage import client as storage_client

Element = ElementTree.Element

NAMESPACE = "http://www.loc.gov/premis/v3"
LOCATION = f"{NAMESPACE} https://www.loc.gov/standards/premis/v3/premis.xsd"
DETAIL = (
    "Faces restored in a new file. A generative model (InterLCM) made each face anew from the photo, so it is no "
    "record of the person; the source is unchanged."
)
FAILED = "Restoration of faces was tried and failed; there is no new file."
COPIED = "No face to restore: the photo was copied as it is."
ENLARGED = "No face to restore: the photo was written anew."
UNCHANGED = "No restored face is in the new file: its faces are those of the photo."
HOW = ("detector", "mask", "rotation", "settings_digest")  # columns that say how a photo was restored
OUTCOMES = {"accept": "accepted", "reject": "rejected", None: "comment"}

ARCHIVES = "SELECT DISTINCT replace(archive_name, '/', '_') FROM index ORDER BY ALL"


def write_files(output: str, folder: str) -> Iterator[int]:
    """Write the PREMIS files of all photos into a folder; yields the number of photos in each.

    A file has up to 500 photos of one source. Files of an earlier export that had more of them are removed. Raises
    ExportError, StorageError, QueryError.
    """
    output = storage.canonical(output)
    environment = Environment(storage_client.environment())
    with query.streaming(output, photos.MEMORY) as rows:
        files = dict.fromkeys((archive for (archive,) in rows.sql(ARCHIVES).fetchall()), 0)

        def calls() -> Iterator[tuple[Chunk, str, str, Environment]]:
            for chunk in photos.chunks(rows):
                files[chunk.archive] = chunk.number
                yield chunk, output, folder, environment

        yield from filter(None, spread(write_file, calls(), cpus=0.5))
    for archive, number in files.items():
        while storage.exists(uri := storage.join(folder, f"{photos.chunk_name(archive, number + 1)}.xml")):
            storage.remove(uri)
            number += 1


def write_file(chunk: Chunk, output: str, folder: str, environment: Environment) -> int:
    environment.use()
    rows, uri = recorded(chunk.rows.to_pylist()), storage.join(folder, f"{chunk.name}.xml")
    if rows:
        storage.write_bytes(uri, document(rows, output))
    else:
        storage.remove(uri)  # of an earlier export
    return len(rows)


def recorded(rows: list[Row]) -> list[Row]:
    """The rows to which something happened: not those of photos without a face, of which nothing was made."""
    return [row for row in rows if row["kept"] or row["status"] != "no_face"]


def document(rows: list[Row], output: str) -> bytes:
    """One XML file about these photos (rows of `photos.PHOTOS`, one at least). The same rows give the same bytes."""
    root = ElementTree.Element("premis:premis", {
        "xmlns:premis": NAMESPACE,
        "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "xsi:schemaLocation": LOCATION,
        "version": "3.0",
    })  # fmt: skip
    sources = {row["index_id"]: row for row in rows}  # pages of one file have one source
    for row in sources.values():
        source_object(root, row)
    for row in rows:
        if row["kept"]:
            restored_object(root, row, output)
    for row in rows:
        restoration(root, row)
        for decided in row["decided"] or []:
            decision(root, row, decided)
    agents = {agent_id(row): row for row in rows}
    for name, row in agents.items():
        software(root, name, row)
    for name in sorted({one["reviewer"] for row in rows for one in row["decided"] or [] if one.get("reviewer")}):
        person(root, name)
    ElementTree.indent(root, " ")
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"


def source_object(root: Element, row: Row) -> None:
    one = terms.file_object(root, terms.SOURCE, row["index_id"])
    known = terms.add(one, "objectCharacteristics")
    terms.fixity(known, row["sha256"])
    if row["bytes"] is not None:
        terms.add(known, "size", row["bytes"])
    terms.media_format(known, f"image/{row['format']}" if row["format"] else "unknown")
    terms.add(one, "originalName", row["member"])
    terms.stored(one, "archive or folder", row["source"])


def restored_object(root: Element, row: Row, output: str) -> None:
    path = path_of(row, output)
    one = terms.file_object(root, terms.RESTORED, row["photo_id"])
    known = terms.add(one, "objectCharacteristics")
    terms.fixity(known, row["restored_sha256"])
    terms.media_format(known, media_type(path))
    terms.add(one, "originalName", path)
    terms.stored(one, "path in the run", path)
    relationship = terms.add(one, "relationship")
    terms.term(relationship, "relationshipType", "relationshipType", "derivation")
    terms.term(relationship, "relationshipSubType", "relationshipSubType", "has source")
    terms.identified(relationship, "relatedObjectIdentifier", terms.SOURCE, row["index_id"])
    terms.identified(relationship, "relatedEventIdentifier", terms.EVENT, event_id(row))
    terms.identified(one, "linkingEventIdentifier", terms.EVENT, event_id(row))
    for decided in row["decided"] or []:
        terms.identified(one, "linkingEventIdentifier", terms.EVENT, decision_id(row, decided))


def restoration(root: Element, row: Row) -> None:
    kind, detail = what_happened(row)
    event = terms.event_of(root, event_id(row), kind, row["made_at"])
    how = [f"{name}: {row[name]}" for name in HOW if row[name] is not None]
    terms.detail(event, f"{detail} {'; '.join(how)}".rstrip())
    faces = row["faces"] or []
    doubtful = any(face["needs_review"] for face in faces) or bool(row["warnings"])
    outcome = "fail" if row["status"] == "failed" else "warning" if doubtful else "success"
    known = terms.add(event, "eventOutcomeInformation")
    terms.term(known, "eventOutcome", "eventOutcome", outcome)
    why = (row["status"], row["error_type"], row["error"])
    terms.note(known, f"status: {', '.join(word for word in why if word)}")
    for warning in row["warnings"] or []:
        terms.note(known, f"{warning['kind']}: {warning['words']}")
    for face in faces:
        terms.note(known, f"face {face['face_index']} at {xywh(face)} px; {face_words(face)}")
    agent = terms.identified(event, "linkingAgentIdentifier", terms.AGENT, agent_id(row))
    terms.term(agent, "linkingAgentRole", "eventRelatedAgentRole", "executing program")
    source = terms.identified(event, "linkingObjectIdentifier", terms.SOURCE, row["index_id"])
    terms.term(source, "linkingObjectRole", "eventRelatedObjectRole", "source")
    if row["kept"]:
        restored = terms.identified(event, "linkingObjectIdentifier", terms.RESTORED, row["photo_id"])
        terms.term(restored, "linkingObjectRole", "eventRelatedObjectRole", "outcome")


def what_happened(row: Row) -> tuple[str, str]:
    """The type of event, and a sentence on it."""
    if row["status"] == "failed":
        return "modification", FAILED
    if row["face_count"]:
        return "modification", DETAIL
    if row["restored_sha256"] == row["sha256"]:
        return "replication", COPIED
    return "modification", UNCHANGED if row["faces"] else ENLARGED


def decision(root: Element, row: Row, decided: Row) -> None:
    """What a curator decided on a photo or on one of its faces."""
    event = terms.event_of(root, decision_id(row, decided), "appraisal", decided["decided_at"])
    face = decided["face_index"]
    terms.detail(event, "A person looked at the restored " + ("photo." if face is None else f"face {face}."))
    known = terms.add(event, "eventOutcomeInformation")
    terms.add(known, "eventOutcome", OUTCOMES[decided["decision"]])
    if decided["comment"]:
        terms.note(known, decided["comment"])
    if decided.get("reviewer"):
        agent = terms.identified(event, "linkingAgentIdentifier", terms.REVIEWER, decided["reviewer"])
        terms.term(agent, "linkingAgentRole", "eventRelatedAgentRole", "implementer")
    kind, value = (terms.RESTORED, row["photo_id"]) if row["kept"] else (terms.SOURCE, row["index_id"])
    terms.identified(event, "linkingObjectIdentifier", kind, value)


def software(root: Element, name: str, row: Row) -> None:
    agent = terms.add(root, "agent")
    terms.identified(agent, "agentIdentifier", terms.AGENT, name)
    terms.add(agent, "agentName", "InterLCM")
    terms.term(agent, "agentType", "agentType", "software")
    terms.add(agent, "agentVersion", row["software_version"] or "unknown")
    terms.add(agent, "agentNote", f"sha256 of the weights: {row['weights_digest']}")


def person(root: Element, name: str) -> None:
    agent = terms.add(root, "agent")
    terms.identified(agent, "agentIdentifier", terms.REVIEWER, name)
    terms.add(agent, "agentName", name)
    terms.term(agent, "agentType", "agentType", "person")


def event_id(row: Row) -> str:
    return f"{row['photo_id']} attempt {row['attempt'] or 0}"


def decision_id(row: Row, decided: Row) -> str:
    what = "photo" if decided["face_index"] is None else f"face {decided['face_index']}"
    return f"{row['photo_id']} {what} decided {decided['decided_at']:%Y%m%dT%H%M%SZ}"


def agent_id(row: Row) -> str:
    """The software with its weights, whose digest changes with every byte of them."""
    return f"interlcm {row['software_version'] or 'unknown'} {(row['weights_digest'] or 'unknown')[:16]}"
