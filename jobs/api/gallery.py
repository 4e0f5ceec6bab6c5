"""Pictures that a notebook displays."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape

# Inline, for a notebook removes style sheets of untrusted output.
FIGURE = "display:inline-block;vertical-align:top;width:180px;margin:4px;font-size:11px;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Strip:
    """One photo before and after, and its faces: a PNG."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Thumbnail:
    """A photo of a run. jpeg: None where there is no picture; words: its status, and why there is none."""

    photo_id: str
    member: str
    words: str
    jpeg: bytes | None = field(repr=False)

    def html(self) -> str:
        """Names come from archives, so they are escaped."""
        text = f'<span title="{escape(self.photo_id)}">{escape(self.member)}</span><br>{escape(self.words)}'
        if self.jpeg is None:
            return f'<figure style="{FIGURE}">{text}</figure>'
        source = f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"
        return f'<figure style="{FIGURE}"><img src="{source}" style="max-width:100%"><br>{text}</figure>'


@dataclass(frozen=True)
class Gallery:
    """Thumbnails of several photos."""

    thumbnails: tuple[Thumbnail, ...]

    def _repr_html_(self) -> str:
        return "".join(one.html() for one in self.thumbnails)
