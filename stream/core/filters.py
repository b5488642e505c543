"""Filters: which events are meant, as a table of the configuration says it.

`{ path = "properties.plan", equals = "pro" }` is a condition; `{ all = […] }`, `{ any = […] }` and `{ not = {…} }` put
conditions together. A path begins with a field of the event, or with properties, traits, context or integrations, and
goes on by name (or by number, in a list). A condition on what is not there is not met, but for `exists = false`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stream.errors import ConfigError
from stream.events import Event

Filter = Callable[[Event], bool]

FIELDS = ("type", "event", "channel", "source", "name", "category", "user_id", "anonymous_id", "group_id")
OBJECTS = ("properties", "traits", "context", "integrations")


def compiled(path: str, table: Any) -> Filter:
    """The filter in the configuration at `path`. Raises ConfigError, which names the place and what is allowed."""
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(f'{path} must be a condition, {{ path = "event", equals = "…" }}, or all, any or not of such')
    if "path" in table:
        return _condition(path, table)
    if len(table) != 1 or not table.keys() <= {"all", "any", "not"}:
        raise ConfigError(f"{path} must have one of all, any, not, or a path; it has {', '.join(table)}")
    [(word, parts)] = table.items()
    if word == "not":
        inner = compiled(f"{path}.not", parts)
        return lambda event: not inner(event)
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ConfigError(f"{path}.{word} must be a list of conditions")
    filters = [compiled(f"{path}.{word}[{index}]", part) for index, part in enumerate(parts)]
    together = all if word == "all" else any
    return lambda event: together(one(event) for one in filters)


def _condition(path: str, table: Mapping[str, Any]) -> Filter:
    find = _finder(f"{path}.path", table["path"])
    given = [name for name in table if name != "path"]
    if len(given) != 1 or given[0] not in _TESTS:
        raise ConfigError(f"{path} must have, beside path, one of: {', '.join(_TESTS)}")
    met = _TESTS[given[0]](f"{path}.{given[0]}", table[given[0]])
    return lambda event: met(find(event))


def _finder(path: str, value: Any) -> Callable[[Event], Any]:
    names = value.split(".") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(n, str) and n for n in names):
        raise ConfigError(f'{path} must be names with dots between, "properties.plan", or a list of names')
    first, *rest = names
    if not (first in OBJECTS and rest) and not (first in FIELDS and not rest):
        raise ConfigError(
            f"{path} must be one of {', '.join(FIELDS)}, or go on from one of {', '.join(OBJECTS)};"
            f" it is {'.'.join(names)}"
        )
    if not rest:
        return lambda event: _ABSENT if (found := getattr(event, first)) is None else found
    return lambda event: _walk(getattr(event, first), rest)


def _walk(value: Any, names: list[str]) -> Any:
    for name in names:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value


def _equals(path: str, wanted: Any) -> Callable[[Any], bool]:
    return lambda value: _same(value, wanted)


def _in(path: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, (list, tuple)) or not wanted:
        raise ConfigError(f"{path} must be a list of values")
    return lambda value: any(_same(value, one) for one in wanted)


def _exists(path: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, bool):
        raise ConfigError(f"{path} must be true or false")
    return lambda value: (value is not _ABSENT and value is not None) == wanted


def _prefix(path: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, str):
        raise ConfigError(f"{path} must be a text")
    return lambda value: isinstance(value, str) and value.startswith(wanted)


def _greater(path: str, wanted: Any) -> Callable[[Any], bool]:
    bound = _number(path, wanted)
    return lambda value: _is_number(value) and value > bound


def _less(path: str, wanted: Any) -> Callable[[Any], bool]:
    bound = _number(path, wanted)
    return lambda value: _is_number(value) and value < bound


def _number(path: str, wanted: Any) -> float:
    if not _is_number(wanted):
        raise ConfigError(f"{path} must be a number")
    return float(wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(value: Any, wanted: Any) -> bool:
    """JSON's equality: 1 is 1.0, and true is not 1."""
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


_ABSENT = object()

_TESTS: dict[str, Callable[[str, Any], Callable[[Any], bool]]] = {
    "equals": _equals,
    "in": _in,
    "exists": _exists,
    "prefix": _prefix,
    "greater": _greater,
    "less": _less,
}
