"""Help, and words and options that are wrong: one line on stderr, exit 2, never a traceback."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jobs.__main__ import app
from jobs.lazy import LazyCommand
from jobs.options import image_format
from tests.support.command import Interlcm

COMMANDS = ["demo", "doctor", "index", "restore", "status", "query", "report", "verify", "train", "evaluate"]
COMMANDS += [f"weights {command}" for command in ("pull", "convert", "verify")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_run(command: str, interlcm: Interlcm) -> None:
    """Each example names only a command and options that exist."""
    assert interlcm(*command.split(), "--help") == 0
    text, _, options = interlcm.out.partition("\nOptions")
    _, examples = re.split(r"Examples?:\n", text, maxsplit=1)
    lines = re.findall(rf"^ +interlcm {command}\b.*", examples, re.MULTILINE)
    assert lines
    used = set(re.findall(r" (--[a-z-]+)", "\n".join(lines)))
    assert used <= set(re.findall(r"--[a-z-]+", options))


@pytest.mark.parametrize("group", ["", "benchmark"])
def test_a_summary_is_how_the_help_of_its_command_begins(group: str) -> None:
    found: Any = typer.main.get_command(app)
    found = found.commands[group].load() if group else found
    summaries = {name: command.help for name, command in found.commands.items() if isinstance(command, LazyCommand)}
    begins = {name: found.commands[name].load().help.partition("\n\n")[0].replace("\n", " ") for name in summaries}
    assert summaries == begins
    assert len(summaries) > 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "5"], "--steps"),
        (["--steps", "many"], "--steps"),
        (["--color-fix", "sepia"], "sepia"),
        (["--detector", "eyes"], "eyes"),
        (["--format", "bmp"], "bmp"),
        (["--quality", "0"], "--quality"),
        (["--batch-faces", "0"], "--batch-faces"),
        (["--gpus-per-actor", "-1"], "--gpus-per-actor"),
        (["--actors", "0"], "--actors 0: give a number such as 4"),
        (["--actors", "4:2"], "--actors 4:2"),
        (["--actors", "many"], "--actors many"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_option_value(options: list[str], words: str, source: str, tmp_path: Path, interlcm: Interlcm) -> None:
    assert interlcm("restore", source, "--output", str(tmp_path / "out"), *options) == 2
    assert words in interlcm.line()
    assert "interlcm restore --help" in interlcm.line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["restore"], ["restore", "a.tar"], ["query", "out"], ["frobnicate"]])
def test_wrong_words(arguments: list[str], interlcm: Interlcm) -> None:
    assert interlcm(*arguments) == 2
    assert "--help" in interlcm.line()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--format", "bmp"], "--format bmp: choose source, jpeg, png, tiff, webp, avif (see "),
        (["--detector", "eyes"], "--detector eyes: choose auto, yunet, "),
        (["--quality", "500"], "--quality 500: give at most 100 (see "),
        (["--min-face", "2"], "--min-face 2: give at least 8 (see "),
        (["--quality", "good"], "--quality good: give a whole number (see "),
        (["--gpus-per-actor", "few"], "--gpus-per-actor few: give a number (see "),
        ([], "--output is missing: name the folder or URI to write to, such as interlcm restore "),
    ],
)
def test_a_wrong_option_is_told_in_the_words_of_its_user(options: list[str], line: str, interlcm: Interlcm) -> None:
    assert interlcm("restore", "a.tar", *options, *(["--output", "out"] if options else [])) == 2
    assert interlcm.line().startswith(line)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("scans/", "scans-restored"),
        ("scans/*.tar", "scans-restored"),
        ("s3://archive/scans/", "s3://archive/scans-restored"),
        ("s3://archive", "s3://archive/restored"),
        ("my scans", "'my scans-restored'"),
        (".", f"{Path.cwd()}-restored"),
        ("*.tar", "restored"),
        ("/", "restored"),
        ("https://example.org/a.tar?signature=1", "a.tar-restored"),
    ],
)
def test_a_run_without_output_is_told_one_that_would_do(source: str, output: str, interlcm: Interlcm) -> None:
    assert interlcm("restore", "--weights", "w", source) == 2
    assert f"--output {output} (see " in interlcm.line()


@pytest.mark.parametrize("words", [["restore", "", "--output", "o"], ["index", "a.tar", "--output", ""]])
def test_an_empty_word_is_an_unset_variable(words: list[str], interlcm: Interlcm) -> None:
    assert interlcm(*words) == 2
    assert "is empty; is a variable of the shell unset?" in interlcm.line()


@pytest.mark.parametrize(("given", "meant"), [("jpg", "jpeg"), ("TIF", "tiff"), ("png", "png")])
def test_a_format_by_its_suffix(given: str, meant: str) -> None:
    assert image_format(given) == meant


def test_version_and_short_help(interlcm: Interlcm) -> None:
    assert interlcm("--version") == 0
    assert interlcm.out == f"interlcm {version('interlcm')}\n"
    assert interlcm("restore", "-h") == 0
    assert "Usage: interlcm restore" in interlcm.out


def test_no_words_at_all(interlcm: Interlcm) -> None:
    assert interlcm() == 2
    assert "Usage: interlcm" in interlcm.out + interlcm.err


@pytest.mark.parametrize("group", ["export", "weights", "manifest", "submit"])
def test_a_group_tells_what_its_commands_do_in_full(group: str, interlcm: Interlcm) -> None:
    assert interlcm(group, "--help") == 0
    summaries = interlcm.out.partition("Commands:\n")[2]
    assert "..." not in summaries and summaries.rstrip().endswith(".")
