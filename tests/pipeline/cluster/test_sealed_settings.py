"""Storage settings for a job: they are sealed, and only those that are valid elsewhere are sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.cluster import sealed_settings
from pipeline.storage import client as storage_client


def test_a_seal_opens_with_its_token_only() -> None:
    settings = {"AWS_SECRET_ACCESS_KEY": "a-secret-to-keep", "AWS_ENDPOINT_URL": "https://s3.example.org/ü"}
    text = sealed_settings.seal(settings, "token")
    assert sealed_settings.unseal(text, "token") == settings
    assert text != sealed_settings.seal(settings, "token")  # equal settings of two jobs give different text
    assert re.fullmatch(r"[\w.=-]+", text)  # nothing that a shell or Ray would expand
    salt, _, body = text.partition(".")
    for other, token in [(text, "other"), (text, ""), (f"{salt}.{body[:-8]}AAAA{body[-4:]}", "token"), ("x", "token")]:
        with pytest.raises(sealed_settings.SealError, match="sealed with a different token"):
            sealed_settings.unseal(other, token)


def test_settings_about_this_machine_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(storage_client.environment()):
        monkeypatch.delenv(name)
    local = ["AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_DISABLED",
             "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
             "GOOGLE_APPLICATION_CREDENTIALS"]  # fmt: skip
    sent = ["AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN"]  # fmt: skip
    for name in [*local, *sent]:
        monkeypatch.setenv(name, "value")
    assert storage_client.environment() == dict.fromkeys(sent, "value")
    assert storage_client.local_variables() == local
    key = tmp_path / "key.json"
    monkeypatch.setenv("FSSPEC_GS_TOKEN", str(key))  # no such file here: it may be one of the nodes
    assert "FSSPEC_GS_TOKEN" in storage_client.environment()
    key.write_text("{}")
    assert storage_client.local_variables() == sorted([*local, "FSSPEC_GS_TOKEN"])
    assert "FSSPEC_GS_TOKEN" not in storage_client.environment()


def test_the_token_is_looked_for_where_ray_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sealed_settings.token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from home\n")
    assert sealed_settings.token() == "from home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(
        sealed_settings.SealError, match=r"RAY_AUTH_TOKEN_PATH=.*token: no such file; name the file with"
    ):
        sealed_settings.token()
    (tmp_path / "token").write_text("from a file")
    assert sealed_settings.token() == "from a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from the environment")
    assert sealed_settings.token() == "from the environment"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert sealed_settings.token() == ""
