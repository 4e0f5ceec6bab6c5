"""What a row says of a photo besides its status: what was lost of it, or is not sure."""

from __future__ import annotations

from dataclasses import dataclass

# Each kind, and what it means.
KINDS = {
    "rows_lost": "a JPEG's data are damaged: the decoder made up rows of the picture; its faces need review",
    "no_end_marker": "a JPEG lacks its end marker; all of its rows are there",
    "not_carried": "the file says something that the restored file has no place for",
    "channel_dropped": "the file has a channel, such as infrared, that the restored file has no place for",
    "raw_preview": "a camera's raw file: the preview in it is restored, by --raw preview",
    "more_pictures": "the file has a further picture, such as a stereo partner or the next frame, that is not restored",
}


@dataclass(frozen=True)
class PhotoWarning:
    """kind: a key of KINDS. words: one line for a person."""

    kind: str
    words: str
