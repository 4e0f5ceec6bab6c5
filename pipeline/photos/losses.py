"""Warnings about everything that an output format cannot hold, so that nothing is lost silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.photos import image_resources
from pipeline.photos.container import EXIF_MARK, SEGMENT, fits_jpeg
from pipeline.photos.metadata import COLOUR_CHUNKS, Metadata
from pipeline.photos.tiff_pages import ALPHA
from pipeline.photos.warning import PhotoWarning

if TYPE_CHECKING:
    from pipeline.photos.photo import Photo

WITHOUT_IPTC = ("webp", "avif")
JPEG_EXIF = SEGMENT - len(EXIF_MARK)


def losses(photo: Photo, format: str) -> list[PhotoWarning]:
    """Warnings about what a file of this format cannot hold of a photo."""
    said = _said(photo, format)
    found = [PhotoWarning("not_carried", f"not carried over to {format}: {', '.join(said)}")] if said else []
    channels = photo.native.shape[2] - photo.space.colours - len(kept_channels(photo, format))
    if channels:
        plural = "channels" if channels > 1 else "channel"
        words = f"{channels} {plural} dropped, other than colours and alpha: {format} has no place for it"
        found.append(PhotoWarning("channel_dropped", words))
    return found


def _said(photo: Photo, format: str) -> list[str]:
    known, found = photo.metadata, []
    if format in WITHOUT_IPTC and known.iptc:
        found.append("IPTC")
    resources = known.resources or b""
    if image_resources.has_paths(resources) and (format in WITHOUT_IPTC or photo.orientation != 1):
        found.append("saved paths")
    if format in WITHOUT_IPTC and image_resources.has_rights(resources):
        found.append("copyright flag or address")
    if photo.format != format:
        found += _notes(known.notes)
    if format == "jpeg" and alpha_channels(photo):
        found.append("alpha (the picture is put on white)")
    if format == "jpeg" and not fits_jpeg(photo.space.profile):
        found.append(f"a colour profile of {len(photo.space.profile or b'')} bytes (the picture is in sRGB)")
    if format == "jpeg" and len(known.exif or b"") > JPEG_EXIF:
        found.append(f"EXIF of {len(known.exif or b'')} bytes")
    return found


def _notes(notes: tuple[tuple[bytes, bytes], ...]) -> list[str]:
    """JPEG comments, and texts of a PNG by name; not its colour chunks, which only describe its own values."""
    names = {
        "comment" if kind == b"COM" else f"text {body.partition(bytes(1))[0].decode('latin-1')!r}"
        for kind, body in notes
        if kind not in COLOUR_CHUNKS and kind != b"tIME"
    }
    return sorted(names)


def kept_channels(photo: Photo, format: str) -> list[int]:
    """The channels after the colours, from 0, that a format can hold: all in TIFF, the first alpha in others. JPEG
    shows it on white."""
    extra = photo.native.shape[2] - photo.space.colours
    return list(range(extra)) if format == "tiff" else alpha_channels(photo)[:1]


def alpha_channels(photo: Photo) -> list[int]:
    """Which channels after the colours are alpha: in a TIFF those declared as alpha, in other formats all."""
    extra = photo.native.shape[2] - photo.space.colours
    if photo.format not in ("tiff", "jp2"):
        return list(range(extra))
    return [n for n, kind in enumerate(photo.extra_samples[:extra]) if kind in ALPHA]


def left_out(metadata: Metadata) -> tuple[PhotoWarning, ...]:
    """A warning about metadata that is never carried over."""
    words = ", ".join(metadata.left_out)
    return (PhotoWarning("not_carried", f"not carried over: {words}"),) if words else ()
