"""`interlcm weights` as a user types it: exit codes, one line for each error, help that can be copied."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from jobs.__main__ import main
from tests.support import tiny


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tiny.weights_folder(tmp_path / "weights")
    return tmp_path / "weights"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["weights", *arguments])
    return int(caught.value.code or 0)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    assert output.err.count("\n") == 1 and "Traceback" not in output.err
    return output.err


def test_verify_says_what_is_there(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", str(weights)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{weights}: 11 parts, all as listed"
    assert re.fullmatch(r"3step: digest [0-9a-f]{64}", lines[1])


def test_verify_names_every_damaged_file(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights / "clip/config.json").write_text("{}")
    (weights / "lcm/vae/config.json").unlink()
    assert run("verify", str(weights)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [re.split(" is | does ", line)[0] for line in lines] == [
        str(weights / "clip/config.json"),
        str(weights / "lcm/vae/config.json"),
    ]


def test_verify_of_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", str(tmp_path / "none")) == 1
    assert "none: no such file or folder" in one_line(capsys)
    assert run("verify", str(tmp_path)) == 1
    assert "interlcm weights pull" in one_line(capsys)


def test_convert_adds_a_variant(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("visual_encoder", "spatial_encoder"):
        file = tmp_path / f"{part}_1step.pth"
        torch.save({"params_ema": tiny.components(seed=1)[part].state_dict()}, file)
        assert run("convert", str(file), str(weights), "--part", part, "--variant", "1step") == 0
        assert capsys.readouterr().out == f"wrote {weights / part / '1step.safetensors'}\n"
    assert run("verify", str(weights)) == 0
    assert "1step: digest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--part"),
        (["--part", "unet"], "--part unet: choose visual_encoder"),
        (["--part", "visual_encoder"], "needs --variant"),
        (["--part", "clip", "--variant", "3step"], "clip must not have it"),
    ],
)
def test_convert_with_wrong_options(
    weights: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", "a.pth", str(weights), *options) == 2
    assert words in one_line(capsys)


def test_convert_of_what_is_no_checkpoint(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.pth").write_text("<html>404</html>")
    options = ("--part", "visual_encoder", "--variant", "1step")
    assert run("convert", str(tmp_path / "page.pth"), str(weights), *options) == 1
    assert "page.pth is refused" in one_line(capsys)


def test_pull_without_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 (discard) refuses connections; these settings replace HF_ENDPOINT, which is read on import.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert run("pull", str(tmp_path / "new" / "weights")) == 1
    assert "cannot be downloaded" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["pull", "convert", "verify"])
def test_examples_of_the_help_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    help_text = capsys.readouterr().out
    examples = re.findall(rf"^ +interlcm weights {command} (.+)$", help_text, re.MULTILINE)
    assert len(examples) >= 2
    options = {word for example in examples for word in shlex.split(example) if word.startswith("--")}
    assert all(re.search(rf"^ +{option} ", help_text, re.MULTILINE) for option in options)
