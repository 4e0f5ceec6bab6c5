"""What a run prints: lines for people, or with --json an object for each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Lines:
    """Prints one line at a time. as_json: as a JSON object, which also has the numbers of the line."""

    as_json: bool = False

    def say(self, event: str, words: str, **values: Any) -> None:
        """event: what the line is about, such as index or progress. values: what JSON can hold."""
        if not self.as_json:
            print(words, flush=True)
            return
        time = datetime.now(UTC).isoformat(timespec="seconds")
        print(json.dumps({"time": time, "event": event, "words": words, **values}, ensure_ascii=False), flush=True)
