"""Check a command for a cluster on this machine, so that mistakes show before it is sent."""

from pathlib import Path
from typing import Any

import typer

from interlcm.weights_index import DEMO
from pipeline.storage.addresses import public

PLACES = ("sources", "output", "weights", "to")  # parameters that hold a path or a URI


def checked(words: list[str], root: Any) -> tuple[list[str], Path | None]:
    """The words of a command for the cluster, and the file of --config, which is sent with it.

    root: the click group of all commands.

    Raises typer's errors for wrong usage and places that a cluster cannot reach, StorageError for a password in a URI.
    """
    words = [without_query(word) for word in words]
    values = parameters(words, root)
    config = values.pop("config", None)
    for name, value in values.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            check_shared(name, item)
    return (with_config(words) if config else words), config


def without_query(word: str) -> str:
    """A word of a command without the query string of an http(s) address, which is sent with the storage settings."""
    option, mark, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{option}{mark}{public(value)}"


def parameters(words: list[str], root: Any) -> dict[str, Any]:
    """The parameters of a command; raises typer's own errors if the words are wrong."""
    command, context = root, root.make_context("interlcm", list(words))
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
        command = context.command
    return dict(context.params)


def check_shared(name: str, value: Any) -> None:
    """Check one value. Others can see a job's command, and a cluster's disks are lost with it."""
    if isinstance(value, Path) and not value.is_absolute():
        option = "--" + name.replace("_", "-")
        raise typer.BadParameter(f"{option} {value}: a file on the cluster's head node; give its absolute path there")
    if not isinstance(value, str):
        return
    if public(value) != value:  # from the config file: the command's words have none left
        words = "a query string in the file of --config would be in the job's package"
        raise typer.BadParameter(f"{public(value)}: {words}; name the address in the command")
    if name in PLACES and value not in ("", DEMO) and "://" not in value:
        raise typer.BadParameter(
            f"{value}: a plain path would be on a disk of the cluster and lost with it; give a URI (s3://...), or "
            "file:///... for a folder that every node mounts"
        )


def with_config(words: list[str]) -> list[str]:
    """The words with the path of the config file on the cluster."""
    from pipeline.cluster.submission import CONFIG

    apart = [part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    at = apart.index("--config") + 1
    return [*apart[:at], CONFIG, *apart[at + 1 :]]
