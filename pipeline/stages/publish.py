"""Last stage, publish: paste and score the restored crops, write the photo, then commit the manifest part."""

import hashlib
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.archives.names import unescape_name
from pipeline.cluster import telemetry
from pipeline.config.job import Job
from pipeline.config.settings import Review
from pipeline.faces.alignment import landmark_error
from pipeline.manifest import write as manifest_write
from pipeline.manifest.schema import MANIFEST_SCHEMA
from pipeline.photos import bit_depth
from pipeline.provenance.record import Provenance
from pipeline.sandbox import parent as sandbox
from pipeline.stages import row
from pipeline.stages.names import restored_path
from pipeline.stages.paste import PastedFile, PasteRequest, paste_faces
from pipeline.stages.row import Row, crops_of, published_crops
from pipeline.stages.score import score_face
from pipeline.storage.output import Output

DONE = pa.schema([("photo_id", pa.string()), ("status", pa.string()), ("face_count", pa.int32())])


def publish(table: pa.Table, job: Job) -> pa.Table:
    """Publish a batch of photos, then commit their rows as one manifest part; returns `DONE`, one row per photo.

    The order matters: the row is the commit. Work interrupted before the commit is repeated and overwrites itself.
    """
    job.environment.use()
    telemetry.label(job.output, job.number)
    rows = [finished(current, job) for current in table.to_pylist()]
    manifest_write.write_part(rows, job.output, job.attempt)
    for done in rows:
        telemetry.photo_finished(done)
    return pa.Table.from_pylist([{name: r[name] for name in DONE.names} for r in rows], schema=DONE)


def finished(current: Row, job: Job) -> Row:
    """The manifest row of one photo; its restored file is published before this returns."""
    if current["status"] is None:
        current = row.placed(row.guarded(current, lambda open_row: publish_photo(open_row, job)), "publish")
    restored = current["status"] in ("restored", "withdrawn")
    current |= {
        "face_count": sum(one["strength"] > 0 for one in current["faces"]) if restored else 0,
        **({} if restored else dict.fromkeys(("reviewed_as", "reviewed_by", "reviewed_at"))),  # nothing to judge
        "faces": current["faces"] if restored else [],
        "weights_digest": job.weights_digest,
        "settings_digest": job.settings.digest(),
        "software_version": job.software_version,
        "attempt": job.number or None,
        "finished_at": datetime.now(UTC),
    }
    return {name: current.get(name) for name in MANIFEST_SCHEMA.names}


def publish_photo(current: Row, job: Job) -> Row:
    """Paste, score, encode and write one photo; one without faces as it is, or enlarged."""
    begun = time.perf_counter()
    as_it_is = not current["faces"] and job.settings.upscale == 1
    built = PastedFile(current["data"], current["format"]) if as_it_is else composed(current, job)
    place, aside = Output(job.output), bool(current.get("withdrawn"))
    path = restored_path(current, built.format, job.settings.names)
    uri = storage.join(place.withdrawn if aside else place.restored, path)
    own = own_file(current) if as_it_is and job.settings.every_photo == "link" else None
    if own is None:
        storage.write_bytes(uri, built.data)
    else:
        storage.link_file(uri, own)
    found = {}
    if current["faces"]:
        if job.settings.save_faces:
            save_faces(current, job)
        mask = "square" if job.settings.aligned else job.settings.mask
        found = {"faces": measured(current, job), "mask": mask}
    status = "withdrawn" if aside else "restored" if current["faces"] else "no_face"
    return row.warned(row.ended(current, status), built.warnings) | {
        **found,
        "restored_uri": uri,
        "restored_sha256": hashlib.sha256(built.data).hexdigest(),
        "seconds_compose": time.perf_counter() - begun,
    }


def own_file(current: Row) -> str | None:
    """The file that a photo in a local folder is; None for a member of an archive, a page, and the preview in a raw
    file."""
    whole = hashlib.sha256(current["data"]).hexdigest() == current["sha256"]
    if not whole or not storage.is_local(current["source"]) or not Path(current["source"]).is_dir():
        return None
    return storage.below(current["source"], unescape_name(current["member"]))


def measured(current: Row, job: Job) -> list[Row]:
    """The manifest's structs of the faces of a restored photo."""
    aligned, restored = map(bit_depth.eight_bit, (crops_of(current, "crops"), published_crops(current)))
    turned, reasons = current["rotation"], damage(current)
    faces = [
        describe(n, {**f, "rotation": turned}, aligned[n], restored[n], job) for n, f in enumerate(current["faces"])
    ]
    return [to_review(one, reasons) for one in faces]


def composed(current: Row, job: Job) -> PastedFile:
    """The file of one restored photo. Raises PhotoError."""
    limits = job.settings.limits
    telemetry.decoded("compose")
    built = sandbox.run(paste_faces, order(current, job), limits=limits)
    if job.signing is not None:
        from pipeline.provenance.signing import sign  # imports c2pa and cryptography, which unsigned runs do not need

        # Sign outside the sandbox: the key stays away from decoders of untrusted bytes.
        scale = job.settings.upscale
        record = provenance(current, job).at(current["width"] * scale, current["height"] * scale, scale)
        signed = sign(built.data, built.format, current["data"], current["format"], record, job.signing, limits=limits)
        return replace(built, data=signed)
    return built


def order(current: Row, job: Job) -> PasteRequest:
    settings = job.settings
    aligned = crops_of(current, "crops")
    masks = current.get("masks")
    return PasteRequest(
        data=current["data"],
        matrices=[np.array(one["matrix"]).reshape(2, 3) for one in current["faces"]],
        aligned=aligned,
        restored=crops_of(current, "restored_crops"),
        strengths=[one["strength"] for one in current["faces"]],
        masks=None if masks is None else np.frombuffer(masks, np.uint8).reshape(aligned.shape[:3]),
        square=settings.aligned,
        colorize=settings.task == "colorize" and bool(current["faces"]),
        upscale=settings.upscale,
        background=current.get("background"),
        format=settings.format,
        quality=settings.quality,
        record=provenance(current, job),
        limits=settings.limits,
    )


def provenance(current: Row, job: Job) -> Provenance:
    changed = [one for one in current["faces"] if one["strength"] > 0]
    return Provenance(
        source_sha256=current["sha256"],
        source=current["source"],
        member=current["member"],
        page=current["page"],
        software_version=job.software_version,
        weights_digest=job.weights_digest,
        settings_digest=job.settings.digest(),
        seed=job.settings.seed,
        task=job.settings.task,
        regions=[tuple(one["box"]) for one in changed],
        strengths=[one["strength"] for one in changed],
        composite=bool(changed) or current.get("background") is not None,
        width=current["width"],
        height=current["height"],
    )


def save_faces(current: Row, job: Job) -> None:
    """OUTPUT/faces/<photo_id>/<n>.png is the face as it is published, <n>_lq.png the aligned input."""
    for crops, suffix in ((published_crops(current), ""), (crops_of(current, "crops"), "_lq")):
        for n, crop in enumerate(crops):
            _, png = cv2.imencode(".png", crop[..., ::-1])
            uri = storage.join(Output(job.output).faces, current["photo_id"], f"{n}{suffix}.png")
            storage.write_bytes(uri, png.tobytes())


def describe(index: int, found: Row, aligned: row.Crops, restored: row.Crops, job: Job) -> Row:
    """The manifest's struct of one face."""
    points = np.array(found["landmarks"], np.float32).reshape(5, 2)
    geometry = {
        "eye_distance": float(np.linalg.norm(points[1] - points[0])),
        "landmark_error": landmark_error(points),
    }
    return {
        "face_index": index,
        "score": found["score"],
        "box": found["box"],
        "landmarks": points.tolist(),
        **geometry,
        "seed": found["seed"],
        "one_tone": found["one_tone"],
        "strength": found["strength"],
        "accepted": found.get("accepted"),
        **score_face(aligned, restored, {**found, **geometry}, review_of(job)),
    }


def damage(current: Row) -> list[str]:
    """Why every face of a photo needs review: the decoder filled in lost rows of the photo."""
    return [one["words"] for one in current["warnings"] or [] if one["kind"] == "rows_lost"]


def to_review(face: Row, reasons: list[str]) -> Row:
    """The face, with these reasons for review put before its own."""
    if not reasons:
        return face
    own = [face["review_reason"]] if face["review_reason"] else []
    return {**face, "needs_review": True, "review_reason": "; ".join(reasons + own)}


def review_of(job: Job) -> Review:
    """The thresholds. Colorizing changes a face a lot by design, so change alone is no reason for review."""
    review = job.settings.review
    return replace(review, max_delta_e=math.inf, min_psnr=0.0) if job.settings.task == "colorize" else review
