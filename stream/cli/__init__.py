"""The commands. One file each, a few lines over public functions. Exit codes: 0 done, 1 not, 2 used wrongly."""

from pathlib import Path
from typing import get_args

import click

from stream import telemetry
from stream.cli.attempt import attempt
from stream.cli.check import check
from stream.cli.deletions import deletions
from stream.cli.forget import forget
from stream.cli.frame import Commands, Frame
from stream.cli.held import held
from stream.cli.invalid import invalid
from stream.cli.lag import lag
from stream.cli.person import person
from stream.cli.resume import resume
from stream.cli.run import run
from stream.cli.send import send
from stream.cli.sync import sync
from stream.cli.tail import tail


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration. Without it: stream.toml in this folder; where there is none, the defaults.",
)
@click.option(
    "--log-level",
    type=click.Choice(get_args(telemetry.Level)),
    default="info",
    show_default=True,
    help="Log lines of this level and above go to stderr.",
)
@click.version_option(package_name="segment-stream", prog_name="stream")
@click.pass_context
def main(context: click.Context, path: Path | None, log_level: telemetry.Level) -> None:
    """Receives Segment's events durably, and remembers what they say about people."""
    context.obj = Frame(path)
    telemetry.set_up(log_level)


for command in (run, check, send, tail, attempt, lag, held, invalid, person, forget, deletions, resume, sync):
    main.add_command(command)
