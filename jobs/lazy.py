"""Groups of commands that import a command's module when it is called: each needs other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

# Commands on the OUTPUT of a run. The others have no storage, or say themselves what they wait for.
OF_RUNS = ("status", "query", "report", "decide", "forget", "verify", "export", "manifest")

LONGEST = 1000  # characters of a summary


class LazyCommand(TyperCommand):
    """Name and summary of a command or a group. Its module holds a function of its name, or a group called app.

    `interlcm --help` and the search for a mistyped name read nothing else.
    """

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.module = module

    def get_short_help_str(self, limit: int = 45) -> str:
        """The whole summary, on several lines where one is too short."""
        return self.help or ""

    def load(self) -> Any:
        """The command itself."""
        found = import_module(self.module)
        app = getattr(found, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(self.name)(getattr(found, self.name or ""))
        return typer.main.get_command(app)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, so that all that follows is done by it."""
        context = self.load().make_context(info_name, args, parent=parent, **extra)
        if self.name in OF_RUNS:
            from jobs.meanwhile import while_storage_fails  # late: --help needs none of it

            context.with_resource(while_storage_fails())
        return context


class WholeGroup(TyperGroup):
    """A group whose help has the first sentence of each command in full, on several lines where one is too short."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(LONGEST)) for name in self.commands])


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A class of group for typer.Typer(cls=...). commands: name -> module and summary, in the order of the help."""

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            for name, (module, summary) in commands.items():
                self.add_command(LazyCommand(name, module, summary))

    return LazyGroup
