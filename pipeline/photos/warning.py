"""Warnings of a photo: what was lost or is uncertain in it."""

from __future__ import annotations

from dataclasses import dataclass

# Each kind and its meaning.
KINDS = {
    "large_face": "a face is wider than --max-face and was left as it is; it has no row in faces",
    "rows_lost": "a JPEG's data are damaged: the decoder filled in rows of the picture; its faces need review",
    "no_end_marker": "a JPEG lacks its end marker; all of its rows are there",
    "not_carried": "the file has metadata that the restored file cannot hold",
    "channel_dropped": "the file has a channel, such as infrared, that the restored file cannot hold",
    "raw_preview": "a camera's raw file: the preview in it is restored, by --raw preview",
    "more_pictures": "the file has a further picture, such as a stereo partner or the next frame, that is not restored",
}


@dataclass(frozen=True)
class PhotoWarning:
    """kind: a key of KINDS. words: one line for a person."""

    kind: str
    words: str
