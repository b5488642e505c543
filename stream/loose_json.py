"""JSON that strict readers refuse and senders send all the same."""

import json
from typing import Any

from stream.subjects import replaced

_MAX_DIGITS = 4_000  # beyond 4,300 Python refuses to turn text into an integer


def read(value: bytes) -> Any:
    """JSON as JavaScript would take it: U+FFFD for a lone surrogate, null for what is too large for a number; a byte
    order mark, NaN and Infinity (Python's senders write them) pass too. Raises ValueError or RecursionError."""
    return _plain(json.loads(str(value, "utf-8-sig"), parse_constant=lambda _: None, parse_int=_integer))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _plain(value: Any) -> Any:
    match value:
        case str():
            return replaced(value)
        case float():
            return value if abs(value) != float("inf") else None
        case dict():
            return {_plain(k): _plain(v) for k, v in value.items()}
        case list():
            return [_plain(v) for v in value]
        case _:
            return value
