"""The job: one attempt at a run, as every worker gets it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.secrets import Environment, Signing
from pipeline.config.settings import Settings
from pipeline.config.verdict import Verdict


@dataclass(frozen=True)
class Job:
    """One attempt at a run, as every worker gets it."""

    settings: Settings
    output: str
    attempt: str  # names the manifest parts of this attempt
    weights_digest: str
    software_version: str
    environment: Environment
    weights_index: dict[str, Any]  # model_index.json as the driver read it; workers load only files with these digests
    signing: Signing | None = None
    number: int = 0  # of the attempt, from 1; 0 before it begins
    by: str = "restore"  # the command, restore or decide
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # photo_id -> how it is to be shown, for detect

    @property
    def crop_size(self) -> int:
        """Side of the crops of faces, px."""
        return int(self.weights_index["image_size"])
