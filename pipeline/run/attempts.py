"""The attempts of a run, as OUTPUT/run.json lists them. Only this module reads or writes that file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
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


def newest_choice(listed: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest attempt with settings that a user chose: one of decide has those that made its photos before."""
    return next((one for one in reversed(listed) if one.get("by") != "decide"), None)


def attempt_with(
    output: str, settings_digest: str, weights_digest: str, number: int | None = None
) -> dict[str, Any] | None:
    """The attempt with these digests and this number; the newest with the digests if none has the number."""
    wanted = {"settings_digest": settings_digest, "weights_digest": weights_digest}
    fitting = [one for one in attempts(output) if wanted.items() <= one.items()]
    found = [one for one in fitting if one.get("number") == number] or fitting
    return found[-1] if found else None


def differences(job: Job) -> list[str]:
    """The settings in which this job differs from the last attempt, such as "quality 95 -> 90"; none at the first."""
    before = newest_choice(attempts(job.output))
    if before is None:
        return []
    return changes(before, {"settings": asdict(job.settings), "weights_digest": job.weights_digest})


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings in which two attempts differ, such as "quality 95 -> 90".

    before, now: as run.json has them. A setting that one of them does not have is left out.
    """
    old, new = _flat(before["settings"]), _flat(now["settings"])
    changed = [
        f"{name} {_said(old[name])} -> {_said(value)}" for name, value in new.items() if old.get(name, value) != value
    ]
    digest = now.get("weights_digest")
    other_weights = before.get("weights_digest", digest) != digest and old.get("weights") == new["weights"]
    return changed + ["the content of the weights folder"] * other_weights


def _said(value: Any) -> str:
    """A setting's value; that of an option without a default, such as max_face, may not be there."""
    return "not given" if value is None else str(value)


def check_names(job: Job) -> None:
    """Raises AttemptsError if the restored files of OUTPUT are named otherwise: names of both kinds could meet."""
    before = {one["settings"].get("names", "unique") for one in attempts(job.output)} - {job.settings.names}
    if before:
        kind = before.pop()
        words = f"its restored files have {kind} names; give --names {kind}, or another OUTPUT"
        raise AttemptsError(f"{job.output}: --names {job.settings.names}: {words}")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of review and limits beside the others."""
    nested = {name for name, value in settings.items() if isinstance(value, dict)}
    return {name: value for name, value in settings.items() if name not in nested} | {
        name: value for group in sorted(nested) for name, value in settings[group].items()
    }


def last_number(output: str) -> int:
    """The number of the last attempt, 0 if there was none: the highest in run.json and the manifest, in case one of
    them was lost."""
    sql = "SELECT coalesce(max(attempt), 0) AS n FROM manifest"
    asked = partial(query.run, sql=sql)
    (newest,) = query.reading(output, asked, decided=False, index=Index(output))["n"].to_pylist()  # no index is asked
    return max(len(attempts(output)), newest)


def record(job: Job, resources: Resources) -> None:
    """Add this attempt to OUTPUT/run.json: settings, versions, digests, but no secrets."""
    listed = attempts(job.output)
    listed.append(
        {
            "attempt": job.attempt,
            "number": job.number,
            "by": job.by,
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
