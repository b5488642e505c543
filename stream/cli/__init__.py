"""The commands. One file each, a few lines over public functions. Exit codes: 0 done, 1 not, 2 used wrongly."""

from pathlib import Path
from typing import get_args

import click

from stream import telemetry
from stream.cli.frame import Commands, Frame

COMMANDS = {
    "run": "run",
    "check": "check",
    "send": "send",
    "tail": "tail",
    "try": "attempt",
    "lag": "lag",
    "held": "held",
    "invalid": "invalid",
    "refused": "refused",
    "spill": "spill",
    "person": "person",
    "forget": "forget",
    "deletions": "deletions",
    "resume": "resume",
    "sync": "sync",
    "topics": "topics",
    "positions": "positions",
    "move": "move",
    "restored": "restored",
}
"""Command → its module here, and the function in it."""


@click.group(cls=Commands, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
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
