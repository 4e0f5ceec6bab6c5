"""The job: one attempt at a run, as every worker gets it."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.secrets import Environment, Signing
from pipeline.config.settings import Settings


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

    @property
    def crop_size(self) -> int:
        """Side of the crops of faces, px."""
        return int(self.weights_index["image_size"])
