"""The attempts of a run, as OUTPUT/run.json lists them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from interlcm.errors import InterLCMError
from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.resources import Resources


class AttemptsError(InterLCMError):
    """run.json cannot be read: one line that names it."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run, as run.json has it; `number` counts from 1."""

    number: int
    started_at: datetime
    weights: str
    settings_digest: str


def last_attempt(output: str) -> Attempt | None:
    """The newest entry of OUTPUT/run.json."""
    uri = storage.join(output, "run.json")
    try:
        attempts: list[dict[str, Any]] = json.loads(storage.read_bytes(uri))["attempts"]
        newest = attempts[-1]
        started = datetime.fromisoformat(newest["started_at"]).astimezone(UTC)
        return Attempt(len(attempts), started, newest["settings"]["weights"], newest["settings_digest"])
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return None
    except (ValueError, TypeError, LookupError) as error:
        raise AttemptsError(f"{uri}: damaged ({error}); bring back a copy, or move it away") from error


def attempts(output: str) -> list[dict[str, Any]]:
    """The attempts that run.json lists; none for an OUTPUT that was only indexed."""
    uri = storage.join(output, "run.json")
    return list(json.loads(storage.read_bytes(uri))["attempts"]) if storage.exists(uri) else []


PACKAGES = ("interlcm", "ray", "torch", "diffusers", "transformers", "pyarrow", "pyvips", "opencv-python")


def record(job: Job, resources: Resources) -> None:
    """Add this attempt to OUTPUT/run.json: settings, versions, digests. Secrets are not among them."""
    uri = storage.join(job.output, "run.json")
    attempts = json.loads(storage.read_bytes(uri))["attempts"] if storage.exists(uri) else []
    attempts.append(
        {
            "attempt": job.attempt,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": asdict(job.settings),
            "settings_digest": job.settings.digest(),
            "weights_digest": job.weights_digest,
            "resources": asdict(resources),
            "versions": {name: version(name) for name in PACKAGES},
        }
    )
    storage.write_bytes(uri, (json.dumps({"attempts": attempts}, indent=2) + "\n").encode())
