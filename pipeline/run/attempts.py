"""The attempts of a run, as OUTPUT/run.json lists them. Only this module reads or writes that file."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from interlcm.errors import InterLCMError, one_line
from pipeline import storage
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.index.copies import Index
from pipeline.manifest import query
from pipeline.storage.output import Output

PACKAGES = ("interlcm", "ray", "torch", "diffusers", "transformers", "pyarrow", "pyvips", "opencv-python")

FORMAT = 1  # of run.json; a file without one is of format 1, too


class AttemptsError(InterLCMError):
    """run.json cannot be read: one line that names it."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run, as run.json lists it; `number` counts from 1."""

    number: int
    started_at: datetime
    weights: str
    settings_digest: str


def attempts(output: str) -> list[dict[str, Any]]:
    """The attempts that run.json lists, oldest first; none for an OUTPUT that was only indexed.

    Raises AttemptsError for a damaged file, StorageError if storage fails.
    """
    uri = Output(output).run_json
    try:
        found = json.loads(storage.read_bytes(uri))
        if found.get("format", 1) > FORMAT:
            raise AttemptsError(f"{uri}: written by a later version (format {found['format']}); install that version")
        listed: list[dict[str, Any]] = found["attempts"]
        if not listed:
            raise ValueError("it lists no attempt")
        for one in listed:
            datetime.fromisoformat(one["started_at"])
            if not isinstance(one["settings"]["weights"], str):
                raise ValueError("an attempt without its weights")
        return listed
    except storage.StorageError as error:
        if error.reason != "missing":
            raise
        return []
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise AttemptsError(f"{uri}: damaged ({one_line(error)}); restore a copy, or move the file away") from error


def last_attempt(output: str) -> Attempt | None:
    """The newest attempt; None for an OUTPUT that was only indexed. Raises as `attempts` does."""
    listed = attempts(output)
    if not listed:
        return None
    newest = listed[-1]
    started = datetime.fromisoformat(newest["started_at"]).astimezone(UTC)
    return Attempt(len(listed), started, newest["settings"]["weights"], newest.get("settings_digest", ""))


def attempt_with(output: str, settings_digest: str, weights_digest: str) -> dict[str, Any] | None:
    """The newest attempt with these digests."""
    wanted = {"settings_digest": settings_digest, "weights_digest": weights_digest}
    fitting = [one for one in attempts(output) if wanted.items() <= one.items()]
    return fitting[-1] if fitting else None


def differences(job: Job) -> list[str]:
    """The settings in which this job differs from the last attempt, such as "quality 95 -> 90"; none at the first."""
    listed = attempts(job.output)
    if not listed:
        return []
    before, now = _flat(listed[-1]["settings"]), _flat(asdict(job.settings))
    changed = [f"{name} {before[name]} -> {value}" for name, value in now.items() if before.get(name, value) != value]
    other_weights = listed[-1].get("weights_digest", job.weights_digest) != job.weights_digest
    return changed + ["the content of the weights folder"] * (other_weights and before.get("weights") == now["weights"])


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of review and limits beside the others."""
    nested = {name for name, value in settings.items() if isinstance(value, dict)}
    return {name: value for name, value in settings.items() if name not in nested} | {
        name: value for group in sorted(nested) for name, value in settings[group].items()
    }


def next_number(output: str) -> int:
    """The number of a new attempt: above all numbers in run.json and the manifest, in case one of them was lost."""
    with query.connect(output, decided=False, index=Index(output)) as connection:  # which is not asked
        (newest,) = query.run(connection, "SELECT coalesce(max(attempt), 0) AS n FROM manifest")["n"].to_pylist()
    return 1 + max(len(attempts(output)), newest)


def record(job: Job, resources: Resources) -> None:
    """Add this attempt to OUTPUT/run.json: settings, versions, digests, but no secrets."""
    listed = attempts(job.output)
    listed.append(
        {
            "attempt": job.attempt,
            "number": job.number,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": asdict(job.settings),
            "settings_digest": job.settings.digest(),
            "weights_digest": job.weights_digest,
            "resources": asdict(resources),
            "versions": versions(),
        }
    )
    text = json.dumps({"format": FORMAT, "attempts": listed}, indent=2) + "\n"
    storage.write_bytes(Output(job.output).run_json, text.encode())


def versions() -> dict[str, str]:
    """The versions of the packages that results may depend on; Ray need not be installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
