from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.settings import Review, Settings, SettingsError
from pipeline.run import attempts
from pipeline.run.attempts import AttemptsError

# What an early version wrote, before there were warnings for --steps, or limits of a whole member.
OLD: dict[str, Any] = {
    "attempts": [
        {
            "attempt": "0123456789abcdef",
            "started_at": "2026-11-01T10:00:00+00:00",
            "settings": {
                "weights": "demo", "task": "restore", "variant": "3step", "steps": 4, "detector": "haar",
                "color_fix": "wavelet", "quality": 95, "review": {"min_psnr": 19.0}, "limits": {"seconds": 30},
            },
            "settings_digest": "84a08a267f6f", "weights_digest": "c0ffee", "versions": {"ray": "2.50.0"},
        }
    ]
}  # fmt: skip


def written(folder: Path, content: dict[str, Any]) -> str:
    (folder / "run.json").write_text(json.dumps(content))
    return str(folder)


def test_a_run_of_an_older_version_is_read_with_defaults_for_what_is_new(tmp_path: Path) -> None:
    output = written(tmp_path, OLD)
    last = attempts.last_attempt(output)
    assert last is not None and (last.number, last.weights) == (1, "demo")
    settings = Settings.from_dict(attempts.attempts(output)[-1]["settings"])
    assert (settings.detector, settings.review.min_psnr, settings.limits.seconds) == ("haar", 19.0, 30)
    assert settings.review.min_score == Review().min_score
    assert settings.format == Settings().format


def test_a_row_finds_the_attempt_that_made_it(tmp_path: Path) -> None:
    """Attempts with the same settings may differ in resources: a short one is not compiled, for example."""
    (one,) = OLD["attempts"]
    numbered = [one | {"number": n, "resources": {"compiled": n == 1}} for n in (1, 2)]
    output = written(tmp_path, {"attempts": numbered})
    digests = one["settings_digest"], one["weights_digest"]
    made = [attempts.attempt_with(output, *digests, number) for number in (1, 2, None)]
    assert made == [numbered[0], numbered[1], numbered[1]]
    assert attempts.attempt_with(output, "another", digests[1], 1) is None


def test_settings_that_decide_took_from_a_photo_are_no_choice() -> None:
    (old,) = OLD["attempts"]
    chosen, redone = old | {"number": 2, "by": "restore"}, old | {"number": 3, "by": "decide"}
    assert attempts.newest_choice([old, chosen, redone]) == chosen
    assert attempts.newest_choice([old, redone]) == old
    assert attempts.newest_choice([]) is None


def test_a_run_of_a_later_version_is_refused_in_one_line(tmp_path: Path) -> None:
    output = written(tmp_path, OLD | {"format": 2})
    with pytest.raises(AttemptsError, match=r"run.json: written by a later version \(format 2\); install that version"):
        attempts.attempts(output)


@pytest.mark.parametrize("group", ["", "review", "limits"])
def test_an_unknown_setting_is_named(group: str) -> None:
    settings = json.loads(json.dumps(OLD["attempts"][0]["settings"]))
    (settings[group] if group else settings)["sepia"] = 1
    with pytest.raises(SettingsError, match="setting 'sepia' is unknown to this version; use the one that began"):
        Settings.from_dict(settings)


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        if name == "ray":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(attempts, "version", absent)
    assert set(attempts.versions()) == set(attempts.PACKAGES) - {"ray"}
