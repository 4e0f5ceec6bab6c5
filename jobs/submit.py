"""`interlcm submit`: any other command as a Ray job on a cluster."""

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from interlcm.errors import one_line
from jobs import credentials
from jobs.lazy import WholeGroup
from jobs.options import NoCredentials
from jobs.remote_command import checked
from pipeline.storage import client as storage_client
from pipeline.storage.addresses import VARIABLE

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from pipeline.cluster.submission import Jobs

PROGRESS = re.compile(r"[a-z]+: \d+/\d+ ")  # "restore: 12/400 files, ..."


class Group(WholeGroup):
    """`interlcm submit -- COMMAND` is short for `interlcm submit job -- COMMAND`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"put -- before the command: interlcm submit -- {args[0]} ...")
        if "--" in args and args[0] not in self.commands:
            args = ["job", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="submit",
    cls=Group,
    help="Run a command on a Ray cluster: interlcm submit -- restore s3://... --output s3://...",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Address = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Dashboard of the cluster. Default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, http://127.0.0.1:8265.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Job id, as shown by interlcm submit list.")]


@app.command()
def job(
    context: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="After --: an interlcm command with its options.")
    ],
    address: Address = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and leave it running.")] = False,
    no_credentials: NoCredentials = False,
) -> None:
    """Start a command on a cluster, show its log and end with its exit code.

    The cluster runs the code of this machine. The storage settings of this shell are sent, encrypted with the cluster's
    token. Ctrl-C asks whether to stop the job or leave it running. The word job may be left out.

    \b
    Examples:
      interlcm submit -- restore s3://archive/scans/ --output s3://archive/restored --actors 1:8 --gpus-per-actor 1
      interlcm submit --no-wait --no-credentials -- restore s3://archive/scans/ --output s3://archive/restored
      interlcm submit job --address http://127.0.0.1:8265 -- status s3://archive/restored
    """
    words, config = checked(command, context.find_root().command)
    sent = storage_client.environment()
    if no_credentials:
        check_nothing_lost(sent)
        sent = {}
    jobs = connect(address)
    job_id = jobs.submit(words, sent, config)
    if not no_credentials:
        say_what_was_sent(sent)
    print(f"submitted: {job_id}", flush=True)
    if no_wait:
        print(f"follow it: interlcm submit logs {job_id} --follow; stop it: interlcm submit stop {job_id}")
        return
    wait(jobs, job_id)


def check_nothing_lost(settings: dict[str, str]) -> None:
    """Raises BadParameter if the command needs a query string, which only the storage settings can carry."""
    if VARIABLE in settings:
        words = "the query string of an http(s) source is sent only with the storage settings"
        raise typer.BadParameter(f"--no-credentials: {words}; leave the option out, or copy the source to the bucket")


@app.command(name="list")
def list_jobs(address: Address = "") -> None:
    """List the jobs of a cluster, the newest first.

    \b
    Example:
      interlcm submit list
    """
    from pipeline.cluster.submission import ENTRYPOINT

    found_jobs = connect(address).all()
    line = "{:<26} {:<10} {:<16} {:>8}  {}".format
    print(line("id", "status", "started (UTC)", "took", "command"))
    for found in found_jobs:
        command = found.entrypoint.removeprefix(ENTRYPOINT)
        print(line(found.submission_id or "", found.status.value.lower(), started(found), took(found), command))


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", help="Follow the log until the job ends, as submit does.")
    ] = False,
    address: Address = "",
) -> None:
    """Print the log of a job.

    \b
    Examples:
      interlcm submit logs raysubmit_ZDdpWxP1H1tinRfr
      interlcm submit logs raysubmit_ZDdpWxP1H1tinRfr --follow
    """
    jobs = connect(address)
    if follow:
        wait(jobs, job_id)
    else:
        print(jobs.log(job_id), end="")


@app.command()
def stop(job_id: JobId, address: Address = "") -> None:
    """Stop a job. Finished photos stay finished; start the same restore again to continue.

    \b
    Example:
      interlcm submit stop raysubmit_ZDdpWxP1H1tinRfr
    """
    jobs = connect(address)
    asked = jobs.stop(job_id)
    print(f"{job_id}: {jobs.ended(job_id).status.value.lower()}{'' if asked else ' already'}")


def connect(address: str) -> "Jobs":
    """The jobs of the cluster that the option names, else the environment, else this machine's port 8265."""
    from pipeline.cluster.submission import ADDRESSES, DEFAULT_ADDRESS, Jobs

    named = [os.environ[name] for name in ADDRESSES if os.environ.get(name)]
    return Jobs(address or [*named, DEFAULT_ADDRESS][0])


def say_what_was_sent(sent: dict[str, str]) -> None:
    """Print the names of the storage settings, never their values."""
    if sent:
        print(f"storage settings sent, encrypted: {', '.join(sorted(sent))}")
    for words in credentials.notes():
        print(words)


def wait(jobs: "Jobs", job_id: str) -> None:
    """Show the log until the job ends, then exit with the job's code."""
    try:
        show(jobs.follow(job_id))
        found = jobs.ended(job_id)
    except KeyboardInterrupt:
        interrupted(jobs, job_id)
    sys.exit(exit_code(found))


def show(pieces: Iterator[str]) -> None:
    """Print a log as it comes; on a terminal each progress line replaces the one before."""
    terminal, text, replaceable = sys.stdout.isatty(), "", False
    for piece in pieces:
        *lines, text = (text + piece).split("\n")
        for line in lines:
            before = "\r\x1b[K" if replaceable and PROGRESS.match(line) else "\n" if replaceable else ""
            replaceable = terminal and PROGRESS.match(line) is not None
            print(before + line, end="" if replaceable else "\n", flush=True)
    print("\n" * replaceable + text, end="", flush=True)


def interrupted(jobs: "Jobs", job_id: str) -> NoReturn:
    """After Ctrl-C: stop the job or leave it running, as the user answers; without a terminal leave it."""
    answer = ""
    if sys.stdin.isatty() and sys.stdout.isatty():
        try:
            answer = input(f"\n{job_id} is running. Stop it, or leave it running? [stop/LEAVE] ")
        except (EOFError, KeyboardInterrupt):
            print()
    if "stop".startswith(answer.strip().lower() or "leave"):
        jobs.stop(job_id)
        print(f"{job_id}: {jobs.ended(job_id).status.value.lower()}")
    else:
        print(f"{job_id} keeps running. Follow it: interlcm submit logs {job_id} --follow; "
              f"stop it: interlcm submit stop {job_id}")  # fmt: skip
    sys.exit(130)


def exit_code(found: "JobDetails") -> int:
    """The command's own exit code; 1, with a message, if the job ended in another way."""
    code = found.driver_exit_code
    if found.status.value == "STOPPED":
        reason = "stopped; start the same command again to continue"
    elif code is not None and code >= 0:
        return code
    elif code is not None:
        reason = f"ended by signal {-code}; start the same command again to continue"
    else:  # the job never ran: its environment could not be created, or its node was lost
        reason = one_line(found.message or "failed")[:500]
    print(f"interlcm: {found.submission_id}: {reason}", file=sys.stderr)
    return 1


def started(found: "JobDetails") -> str:
    return f"{datetime.fromtimestamp((found.start_time or 0) / 1000, UTC):%Y-%m-%d %H:%M}"


def took(found: "JobDetails") -> str:
    """Hours, minutes and seconds so far."""
    end = (found.end_time or 0) / 1000 or datetime.now(UTC).timestamp()
    minutes, seconds = divmod(max(0, round(end - (found.start_time or 0) / 1000)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
