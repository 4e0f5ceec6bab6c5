"""The `interlcm` command: collects the commands and turns errors that a user can cause into one line."""

import atexit
import errno
import itertools
import os
import posixpath
import re
import shlex
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from interlcm.errors import InterLCMError, one_line
from jobs.extras import missing
from jobs.lazy import lazy_group

COMMANDS = {
    "demo": ("jobs.demo", "Restore a small sample archive with the built-in demo weights and show the result."),
    "doctor": (
        "jobs.doctor",
        "Show what this machine has: packages, cores, memory, GPUs, Ray, weights, detectors, storage settings.",
    ),
    "index": ("jobs.index", "List the members of archives into OUTPUT/index/, one Parquet file per archive."),
    "restore": (
        "jobs.restore",
        "Restore the faces in archives. Writes restored photos, and a manifest with one row for each member.",
    ),
    "status": (
        "jobs.status",
        "Count the photos of a run by status; show its rate, what it waits for, and when it will end.",
    ),
    "query": ("jobs.query", "Query a run, in SQL or with a built-in query."),
    "report": (
        "jobs.report",
        "Write OUTPUT/report/: summary, plots, and a gallery with before and after of every photo and face.",
    ),
    "decide": ("jobs.decide", "Make the output follow the decisions of curators: withdraw, restore again, mark."),
    "forget": (
        "jobs.forget",
        "Take photos out of a run for good: restored files, crops, pictures, decisions, names and measures.",
    ),
    "verify": ("jobs.verify", "Read all restored files of a run and compare them with the manifest."),
    "export": ("jobs.export", "Export a finished run for other systems: a BagIt bag, PREMIS, IIIF, tables."),
    "train": (
        "jobs.train",
        "Train weights: the two encoders, as in the InterLCM paper, or the small demo weights (preset demo).",
    ),
    "evaluate": (
        "jobs.evaluate",
        "Restore test pictures and compare them with sharp ones: PSNR, SSIM, LPIPS, identity, FID and others.",
    ),
    "weights": ("jobs.weights", "Fill a weights folder with published weights, or check one."),
    "manifest": ("jobs.manifest", "Maintain the manifest of a run."),
    "submit": ("jobs.submit", "Run a command on a Ray cluster: interlcm submit -- restore s3://... --output s3://..."),
    "benchmark": (
        "jobs.benchmark.commands",
        "Measure the parts of a run on this machine; prints tables and writes JSON.",
    ),
}

app = typer.Typer(
    name="interlcm",
    cls=lazy_group(COMMANDS),
    help="Restore the faces in archives of old photos: index, restore, then inspect the result of every photo.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def say_version(wanted: bool) -> None:
    if wanted:
        print(f"interlcm {version('interlcm')}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Restore the faces in archives of old photos: index, restore, then inspect the result of every photo."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 complete, 1 not complete, 2 wrong usage, 130 interrupted.

    Errors that a user can cause (wrong usage, and this project's own exceptions) are one line on stderr. Any other
    error is a bug and keeps its traceback.
    """
    # A network's waiting threads release their core: on a busy machine this was four times as fast, on an idle one as
    # fast as before. The threads' library reads the variable when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments is None:  # this is the whole process
        atexit.register(_end)  # the first one registered is the last one called
    try:
        if "INTERLCM_SEALED_SETTINGS" in os.environ:  # in a job that interlcm submit started
            from pipeline.cluster.sealed_settings import open_settings  # for these jobs only: cryptography is slow

            open_settings()
        code = app(arguments, prog_name="interlcm", standalone_mode=False)
        with suppress(BrokenPipeError):  # the reader has seen enough
            print(end="", flush=True)
        if code == 130:  # typer's code for Ctrl-C; commands with a message of their own exit themselves
            code = _say("interrupted; start the same command again to continue", 130)
    except SystemExit as ended:  # of submit, with the code of the job
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else _say(ended.code, 1)
    except typer.TyperException as error:
        code = _wrong_usage(error, arguments or sys.argv[1:])
    except typer.Abort:
        code = _say("interrupted", 130)
    except KeyboardInterrupt:
        code = _say("interrupted; start the same command again to continue", 130)
    except ModuleNotFoundError as error:
        words = missing(
            error, next((word for word in arguments or sys.argv[1:] if not word.startswith("-")), "interlcm")
        )
        if words is None:
            raise
        code = _say(words, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise
        code = _say(f"what it prints cannot be written ({one_line(error)}); make room, or send it elsewhere", 1)
    except Exception as error:
        # Ray raises a worker's error as a subclass of both its class and RayTaskError; the original is its cause.
        original = error.cause if hasattr(error, "cause") else error
        if not isinstance(original, InterLCMError):
            raise
        # This project's messages are one line; Ray Data appends its own advice.
        code = _say(str(original).partition("\n")[0], original.exit_code)
    _leave(code)


exit_code = 1  # that of an unforeseen error, unless _leave is called


def _end() -> None:
    """End the process when all other exit handlers have run, without the destructors of C++ libraries.

    Arrow's would wait for threads that still read ahead for a scan that has its result. They read through Python, which
    is gone by then: the process would hang or abort, with its output already written.
    """
    with suppress(OSError, ValueError):  # a reader of the output that has left, or a closed stream
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)


ENDING = 5.0  # seconds that the stages of a run in this process have to end their calls


def _leave(code: int) -> NoReturn:
    """Exit. If a stage does not end its call in time, exit at once: a stage busy in C++ would crash an orderly exit."""
    here = sys.modules.get("pipeline.run.here")
    if here is not None and here.working(wait=ENDING):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    global exit_code
    exit_code = code or 0  # typer gives None for a command that went well
    sys.exit(code)


def _wrong_usage(error: typer.TyperException, words: list[str]) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context and message.removesuffix(".") == "Missing option '--output'":
        output = _beside(context.params["sources"][0]) if context.params.get("sources") else "output"
        example = f"interlcm {shlex.join(words)} --output {shlex.quote(output)}"
        message = f"--output is missing: name the folder or URI to write to, such as {example}"
    if message.startswith("Usage: "):  # the subcommand is missing: the message is the command's help
        print(message, file=sys.stderr)
        return error.exit_code
    command = context.command_path if context else "interlcm"
    return _say(f"{_plain(message, words)} (see {command} --help)", error.exit_code)


def _beside(source: str) -> str:
    """An OUTPUT beside a source; in the current folder if there is no such place, as on a web server."""
    if source.startswith(("http://", "https://")):
        source = posixpath.basename(source.partition("?")[0])
    place = re.sub(r"(^|/)[^/]*[*?\[].*$", "", source).rstrip("/")
    if re.fullmatch(r"\w+://[^/]+", place):
        return f"{place}/restored"
    if posixpath.basename(place) in (".", ".."):
        place = os.path.abspath(place)
    return f"{place}-restored" if place else "restored"


# What the validator says of a value -> what its user is to give.
GIVE = {
    r"Input should be less than or equal to (\S+)": r"give at most \1",
    r"Input should be greater than or equal to (\S+)": r"give at least \1",
    r"Input should be a valid integer.*": "give a whole number",
    r"Input should be a valid number.*": "give a number",
    r"'.*' is not one of (.+)": r"choose \1",
}


def _plain(message: str, words: list[str]) -> str:
    """typer's message without its validator's words. words: those of the command."""
    message = message.removesuffix(".").replace("Value error, ", "").removeprefix("Invalid value: ")
    found = re.fullmatch(r"Invalid value for '(--[\w-]+)': (.*)", message, re.DOTALL)
    if found is None:
        return message
    option, trouble = found.groups()
    if trouble.startswith(option):
        return trouble
    for pattern, give in GIVE.items():
        if re.fullmatch(pattern, trouble):
            value = next((after for word, after in itertools.pairwise(words) if word == option), "")
            return f"{option} {value}".rstrip() + ": " + re.sub(pattern, give, trouble).replace("'", "")
    return f"{option}: {trouble}"


def _say(message: str, code: int) -> int:
    print(f"interlcm: {one_line(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
