"""What every command has: the configuration, --json, and errors as one line with the right exit code."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from stream import config
from stream.errors import ConfigError, StreamError

Command = TypeVar("Command", bound=Callable[..., Any])


class Frame:
    """One call of the command line. `path` is what --config says."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @property
    def file(self) -> Path | None:
        """The configuration file, if there is one."""
        found = self.path or Path(config.NAME)
        return found.absolute() if found.exists() else None

    @cached_property
    def config(self) -> config.Config:
        """The configuration, read when first asked for. Raises ConfigError."""
        return config.load(self.path)


class Commands(click.Group):
    """Ends a command that raised a StreamError with its message on stderr: exit code 2 if stream was used wrongly
    (a ConfigError), 1 if it could not do what was asked. Only the command that is asked for is imported: what the
    receiver needs takes half a second."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(importlib.import_module(f"stream.cli.{module}"), module)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise UsedWrongly(str(error)) from error
        except StreamError as error:
            raise click.ClickException(str(error)) from error


class UsedWrongly(click.ClickException):
    """One line on stderr, and exit code 2."""

    exit_code = 2


def json_option(command: Command) -> Command:
    """Adds --json, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(command)


def answer(as_json: bool, found: Any, lines: Iterable[str]) -> None:
    """Prints what a command found: `found` as JSON, or `lines` for the eye."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    for line in lines:
        click.echo(line)
