"""The `interlcm` command: collects the commands and turns errors that a user can cause into one line."""

import os
import re
import sys
from typing import Annotated, NoReturn

import typer

from interlcm.errors import InterLCMError, one_line
from jobs import manifest, submit, weights
from jobs.benchmark import commands as benchmark_commands
from jobs.demo import demo
from jobs.evaluate import evaluate
from jobs.index import index
from jobs.query import query
from jobs.report import report
from jobs.restore import restore
from jobs.status import status
from jobs.train import train
from jobs.verify import verify

app = typer.Typer(
    name="interlcm",
    help="Restore the faces in archives of old photos: index, restore, then inspect the result of every photo.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"interlcm {version('interlcm')}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Restore the faces in archives of old photos: index, restore, then inspect the result of every photo."""


for command in (demo, index, restore, status, query, report, verify, train, evaluate):
    app.command()(command)
app.add_typer(weights.app, name="weights")
app.add_typer(manifest.app, name="manifest")
app.add_typer(submit.app, name="submit")
app.add_typer(benchmark_commands.app, name="benchmark")


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 complete, 1 not complete, 2 wrong usage, 130 interrupted.

    Errors that a user can cause (wrong usage, and this project's own exceptions) are one line on stderr. Any other
    error is a bug and keeps its traceback.
    """
    # A network's waiting threads release their core: on a busy machine this was four times as fast, on an idle one as
    # fast as before. The threads' library reads the variable when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if "INTERLCM_SEALED_SETTINGS" in os.environ:  # in a job that interlcm submit started
            from pipeline.cluster.sealed_settings import open_settings

            open_settings()
        code = app(arguments, prog_name="interlcm", standalone_mode=False)
        if code == 130:  # typer's code for Ctrl-C; commands with a message of their own exit themselves
            code = _say("interrupted; start the same command again to continue", 130)
    except typer.TyperException as error:
        code = _wrong_usage(error)
    except typer.Abort:
        code = _say("interrupted", 130)
    except KeyboardInterrupt:
        code = _say("interrupted; start the same command again to continue", 130)
    except Exception as error:
        # Ray raises a worker's error as a subclass of both its class and RayTaskError; the original is its cause.
        original = error.cause if hasattr(error, "cause") else error
        if not isinstance(original, InterLCMError):
            raise
        # This project's messages are one line; Ray Data appends its own advice.
        code = _say(str(original).partition("\n")[0], original.exit_code)
    _leave(code)


ENDING = 5.0  # seconds that the stages of a run in this process have to end their calls


def _leave(code: int) -> NoReturn:
    """Exit. If a stage does not end its call in time, exit at once: a stage busy in C++ would crash an orderly exit."""
    here = sys.modules.get("pipeline.run.here")
    if here is not None and here.working(wait=ENDING):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _wrong_usage(error: typer.TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage: "):  # the subcommand is missing: the message is the command's help
        print(message, file=sys.stderr)
        return error.exit_code
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "interlcm"
    return _say(f"{_plain(message)} (see {command} --help)", error.exit_code)


def _plain(message: str) -> str:
    """typer's message without its validator's words; for a missing --output, with an example."""
    message = message.removesuffix(".").replace("Value error, ", "")
    if message == "Missing option '--output'":
        return "--output is missing: name the folder or URI to write to, such as --output restored"
    return re.sub(r"^Invalid value for '(--[\w-]+)': ", r"\1: ", message.removeprefix("Invalid value: "))


def _say(message: str, code: int) -> int:
    print(f"interlcm: {one_line(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
