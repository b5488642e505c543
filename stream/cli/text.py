"""How things are written for the eye: times, bytes that may be anything, columns."""

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text


def when(time: float | None) -> str:
    """A time as ISO 8601, to the millisecond, in UTC; --since takes it back."""
    if time is None:
        return "-"
    try:
        moment = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time:.3f}"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def safe(value: bytes | str | None) -> str:
    r"""Text on one line that no terminal obeys: whatever is not UTF-8 or cannot be printed is shown as \x1b or \u202e.
    None, a message that says "gone", is `null`."""
    if value is None:
        return "null"
    text = value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown(value: object) -> str:
    """A JSON value on one line: text as it is, anything else as JSON."""
    return safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a table: drawn on a terminal, plain and aligned elsewhere, so that other programs can read it."""
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    return _drawn(head, cells) if sys.stdout.isatty() else _aligned([list(head), *cells])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _drawn(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    table = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    paper = io.StringIO()
    Console(file=paper, force_terminal=True, width=Console().width).print(table)
    return (line.rstrip() for line in paper.getvalue().splitlines())


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
