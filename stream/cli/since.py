"""--since and --until: moments, as people write them."""

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from stream.events import parse_time

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)[a-z]*(?:\s+ago)?", re.IGNORECASE)


def moment(text: str, now: float) -> float | None:
    """Seconds since the epoch of "2024-05-01", "2024-05-01T10:00Z" (no zone: UTC), "2h", "30 minutes ago"; None for
    anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return parse_time(text.strip())
    return now - float(found[1]) * _UNITS[found[2].lower()]


def since_option(help: str, required: bool = False) -> Callable[[Command], Command]:
    """Adds --since, as the argument `since`: seconds since the epoch, or None."""
    return _option("--since", help, required)


def until_option(help: str) -> Callable[[Command], Command]:
    """Adds --until, as the argument `until`: the same."""
    return _option("--until", help, False)


def _option(name: str, help: str, required: bool) -> Callable[[Command], Command]:
    said = f'{help} ISO time, or like "2h ago".'
    return click.option(name, metavar="TIME", callback=_read, required=required, help=said)


def _read(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    found = None if text is None else moment(text, time.time())
    if text is not None and found is None:
        raise click.BadParameter(f'{text!r} is neither a time (2024-05-01T10:00Z) nor how long ago (30m, "2h ago")')
    return found
