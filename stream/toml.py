"""A TOML file as structs. Errors name the path in the file and what is allowed there, and never show a value."""

import difflib
import os
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from stream.errors import ConfigError

T = TypeVar("T", bound=Struct)


def read(file: Path) -> dict[str, Any]:
    """The file as it stands. Raises ConfigError if it is missing or not TOML."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None


def expanded(value: Any, path: str = "") -> Any:
    """`value` with each ${NAME} in its strings replaced by that environment variable. Raises ConfigError if unset."""
    match value:
        case str():
            return _VARIABLE.sub(lambda found: _environment(found[1], path), value)
        case dict():
            return {key: expanded(item, _join(path, key)) for key, item in value.items()}
        case list():
            return [expanded(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case _:
            return value


def struct(path: str, value: Any, kind: type[T]) -> T:
    """The table at `path` as a `kind`. Raises ConfigError for an unknown key, with the nearest known one, and for a
    value of the wrong type or out of its bounds."""
    found = table(path, value)
    known(path, found, kind.__struct_fields__)
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_reworded(path, kind, str(error))) from None


def table(path: str, value: Any) -> dict[str, Any]:
    """The value at `path`, which must be a table. Raises ConfigError."""
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be a table, [{path}]")
    return value


def texts(path: str, value: Any) -> tuple[str, ...]:
    """The list of texts at `path`. Raises ConfigError."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{path} must be a list of texts, ["…"]')
    return tuple(value)


def known(path: str, found: Collection[str], allowed: Collection[str]) -> None:
    """Raises ConfigError for a key that is not allowed at `path`, with the nearest one that is."""
    for key in found:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"{_join(path, key)} is not a setting; {hint}allowed: {', '.join(allowed) or 'none'}")


_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _environment(name: str, path: str) -> str:
    if not _VARIABLE_NAME.fullmatch(name):
        raise ConfigError(f"{path}: ${{NAME}} takes the name of an environment variable and nothing else")
    if name not in os.environ:
        raise ConfigError(f"{path} needs the environment variable {name}, which is not set")
    return os.environ[name]


def _reworded(path: str, kind: type[Struct], message: str) -> str:
    what, _, where = message.replace("`", "").partition(" - at $")
    choices = get_args(get_type_hints(kind).get(where.lstrip(".")))
    if what.startswith("Invalid enum value"):  # msgspec would show the value
        what = f"must be one of {', '.join(choices)}"
    return f"{path}{where}: {what[0].lower()}{what[1:]}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
