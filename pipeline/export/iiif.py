"""IIIF Presentation API 3.0: a manifest for each photo, and collections of them, as JSON objects.

A photo is one canvas of the size of its source. Two pictures are painted on it, of which a viewer shows one: restored
first, then the source (a Choice). Each restored face is an annotation on its box. A photo without a restored face has
its source alone.
"""

from __future__ import annotations

import posixpath
from typing import Any

from pipeline.export.photos import Row, face_words, xywh

Size = tuple[int, int]  # width, height, px
CONTEXT = "http://iiif.io/api/presentation/3/context.json"
LABELS = {"after": "Faces restored", "before": "As it was scanned"}
NOTICE = "A generative model made the restored faces. They are no record of the people."


def folder_of(photo_id: str) -> str:
    """The folder of a photo's files in the export."""
    return f"photos/{photo_id[:2]}/{photo_id}"


def manifest(row: Row, base: str, sizes: dict[str, list[Size]]) -> dict[str, Any]:
    """The manifest of a photo. row: of `photos.PHOTOS`; base: URL of the export; sizes: of `tiles.pyramids`."""
    address = f"{base}/{folder_of(row['photo_id'])}"
    width, height = sizes["before"][0]
    canvas = f"{address}/canvas"
    pictures = [picture(f"{address}/{name}", LABELS[name], sizes[name]) for name in LABELS]
    body = {"type": "Choice", "items": pictures} if row["face_count"] else pictures[1]
    painting = annotation(f"{canvas}/painting", "painting", body, canvas)
    faces = [
        annotation(f"{canvas}/face/{face['face_index']}", "commenting", text(face), f"{canvas}#{xywh(face)}")
        for face in row["faces"] or []
    ]
    painted = {
        "id": canvas,
        "type": "Canvas",
        "label": label(row),
        "width": width,
        "height": height,
        "items": [page(f"{canvas}/pictures", [painting])],
        "annotations": [page(f"{canvas}/faces", faces)],
    }
    notice = {"requiredStatement": {"label": english("Notice"), "value": english(NOTICE)}} if row["face_count"] else {}
    return {
        "@context": CONTEXT,
        "id": f"{address}/manifest.json",
        "type": "Manifest",
        "label": label(row),
        "metadata": [{"label": english(name), "value": {"none": [str(value)]}} for name, value in about(row).items()],
        **notice,
        "thumbnail": [thumbnail(f"{address}/after", sizes["after"])],
        "items": [painted],
    }


def picture(address: str, words: str, sizes: list[Size]) -> dict[str, Any]:
    """One of the pictures of a canvas, with its tiles."""
    width, height = sizes[1]
    return {
        "id": f"{address}/full/max/0/default.jpg",
        "type": "Image",
        "format": "image/jpeg",
        "label": english(words),
        "width": width,
        "height": height,
        "service": [{"id": address, "type": "ImageService3", "profile": "level0"}],
    }


def thumbnail(address: str, sizes: list[Size]) -> dict[str, Any]:
    width, height = sizes[2]
    size = {"width": width, "height": height}
    return {"id": f"{address}/full/{width},{height}/0/default.jpg", "type": "Image", "format": "image/jpeg", **size}


def text(face: Row) -> dict[str, str]:
    """What an annotation says of a face."""
    words = f"Face {face['face_index']}. {face_words(face)}"
    return {"type": "TextualBody", "value": words, "format": "text/plain", "language": "en"}


def annotation(address: str, motivation: str, body: dict[str, Any], target: str) -> dict[str, Any]:
    return {"id": address, "type": "Annotation", "motivation": motivation, "body": body, "target": target}


def page(address: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": address, "type": "AnnotationPage", "items": items}


def about(row: Row) -> dict[str, Any]:
    """What a viewer shows beside a photo. Of the source's URI only the last part: the manifest may be published."""
    facts = {
        "Archive": posixpath.basename(row["source"].rstrip("/")),
        "File": row["member"],
        "Page": row["page"] if row["pages"] > 1 else None,
        "Faces restored": row["face_count"],
        "Software": f"InterLCM {row['software_version'] or 'unknown'}",
        "Review": {"accept": "accepted by a curator"}.get(row["reviewed_as"]),
        "sha256 of the weights": row["weights_digest"],
        "sha256 of the source": row["sha256"],
        "sha256 of the restored file": row["restored_sha256"],
    }
    return {name: value for name, value in facts.items() if value is not None}


def label(row: Row) -> dict[str, list[str]]:
    return {"none": [f"{row['member']}, page {row['page']}" if row["pages"] > 1 else row["member"]]}


def english(words: str) -> dict[str, list[str]]:
    return {"en": [words]}


def reference(shown: dict[str, Any]) -> dict[str, Any]:
    """A manifest or collection as an item of a collection."""
    return {name: shown[name] for name in ("id", "type", "label", "thumbnail") if name in shown}


def collection(address: str, words: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"@context": CONTEXT, "id": address, "type": "Collection", "label": {"none": [words]}, "items": items}
