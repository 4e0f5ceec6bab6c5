"""The sandbox's part of the publish stage: paste the restored faces into the photo and encode the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from pipeline.config.limits import Limits
from pipeline.faces import alignment, pasting
from pipeline.faces.mask import SQUARE
from pipeline.photos import decode as photo_decoder
from pipeline.photos import encode as photos_encode
from pipeline.photos import photo
from pipeline.photos.losses import losses
from pipeline.photos.warning import PhotoWarning
from pipeline.provenance.extended import MAIN_BYTES, in_two_parts
from pipeline.provenance.packet import source_packet, xmp_packet
from pipeline.provenance.record import Provenance
from pipeline.stages.row import Crops

Native = npt.NDArray[Any]  # uint8 or uint16
STRIP = 1024  # lines of an enlarged photo that are computed at a time


@dataclass
class PasteRequest:
    """The inputs of one restored file.

    data: the source file, with one page. matrices: (2, 3) photo to crop, of each face. aligned, restored:
    (faces, S, S, 3) sRGB. strengths: share of each restored face in its pixels, 0 to 1. masks: (faces, S, S) uint8 or
    None. square: replace the whole square of each crop.
    background: the enlarged photo as a PNG, or None. format: a key of photo.EXTENSIONS, or "source".
    """

    data: bytes
    matrices: list[npt.NDArray[np.float64]]
    aligned: Crops
    restored: Crops
    strengths: list[float]
    masks: npt.NDArray[np.uint8] | None
    square: bool
    colorize: bool
    upscale: int
    background: bytes | None
    format: str
    quality: int
    record: Provenance
    limits: Limits


@dataclass
class PastedFile:
    """The file, its format (a key of photo.EXTENSIONS), and warnings about what the file does not carry over."""

    data: bytes
    format: str
    warnings: tuple[PhotoWarning, ...] = ()


def paste_faces(order: PasteRequest) -> PastedFile:
    """Decode, paste, encode. Faces are pasted best score first, so later ones lie on top.

    Raises PhotoError; pyvips.Error if the format cannot hold the picture (webp ends at 16383 px).
    """
    decoded = photo_decoder.decode(order.data, order.limits)
    if order.colorize:
        decoded = photos_encode.in_srgb(decoded)
    changed = [changed_crop(decoded, order, n) for n in range(len(order.matrices))]  # all, before one is pasted
    native = enlarged(decoded, order) if order.upscale > 1 else decoded.native
    colours = native[..., : decoded.space.colours]
    for n, crop in enumerate(changed):
        matrix = alignment.scaled(order.matrices[n], order.upscale)
        mask = SQUARE if order.square else None if order.masks is None else order.masks[n]
        pasting.paste(colours, crop, matrix, mask, order.strengths[n])
    format = photos_encode.output_format(decoded, order.format)
    record = order.record.at(native.shape[1], native.shape[0], order.upscale)
    *parts, problem = packets(decoded, record, format)
    data = photos_encode.encode(decoded, native, format, order.quality, *parts)
    lost = [PhotoWarning("not_carried", f"XMP {problem}")] if problem else []
    return PastedFile(data, format, (*losses(decoded, format), *lost))


def packets(decoded: photo.Photo, record: Provenance, format: str) -> tuple[bytes, bytes | None, str | None]:
    """The XMP of a restored file, the second part of it in a JPEG, and why the source's XMP is missing, if it is."""
    known = decoded.metadata
    _, problem = source_packet(known.xmp, known.extended_xmp)
    packet = xmp_packet(known.xmp, record, decoded.orientation, known.extended_xmp)
    if format != "jpeg":
        return packet, None, problem
    main, rest = in_two_parts(packet)
    if len(main) <= MAIN_BYTES:
        return main, rest, problem
    main, rest = in_two_parts(xmp_packet(None, record, decoded.orientation))
    return main, rest, "left out: it is too long for a JPEG"


def changed_crop(decoded: photo.Photo, order: PasteRequest, n: int) -> Native:
    """The crop in the photo's own channels and value range, with the model's change added.

    sRGB cannot hold everything in a photo (a wide gamut, a black separation). That part is not in the aligned crop, so
    it is not in the difference either, and it stays.
    """
    space, size = decoded.space, order.aligned.shape[1]
    before = alignment.cut(decoded.native[..., : space.colours], order.matrices[n], size)
    after = before + space.from_srgb(order.restored[n]) - space.from_srgb(order.aligned[n])
    return np.rint(after).clip(0, decoded.peak).astype(decoded.native.dtype)


def enlarged(decoded: photo.Photo, order: PasteRequest) -> Native:
    """The photo's own channels, `upscale` times as wide and high, by Lanczos or by the background network."""
    image = pyvips.Image.new_from_array(decoded.native)
    native: Native = (
        image.resize(order.upscale, kernel="lanczos3")
        .numpy()
        .reshape(decoded.height * order.upscale, decoded.width * order.upscale, -1)
    )
    if order.background is not None:
        roomy = replace(order.limits, pixels=native.shape[0] * native.shape[1])  # our own file, not a member
        network = photo_decoder.decode(order.background, roomy).native
        colours = native[..., : decoded.space.colours]
        for top in range(0, len(native), STRIP):
            strip = colours[top : top + STRIP]
            after = strip + decoded.space.from_srgb(network[top : top + STRIP])
            after -= decoded.space.from_srgb(decoded.space.to_srgb(native[top : top + STRIP]))
            strip[:] = np.rint(after).clip(0, decoded.peak)
    return native
