"""Templates: a JSON value, or a text, with places that are filled in from a document.

In a value, a text that begins with `$` is a JSONPath (RFC 9535), which is replaced by what it finds; `$$` at the
beginning stands for a dollar sign. `{"$each": …}` becomes a list: what is in it, once for each of several documents.
In a text, `{$.path}` is a place.

A path that can find one thing only (`$.person.traits.plan`) is replaced by it; where there is none, the key or element
is left out. A path that may find several (`[*]`, `..`, a filter) becomes a list, whatever it finds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jsonpath
import msgspec
from jsonpath.segments import JSONPathChildSegment
from jsonpath.selectors import NameSelector
from msgspec import Struct

from stream import toml
from stream.errors import ConfigError, Dead

Document = Mapping[str, Any]

ABSENT: Final = msgspec.UNSET
"""What a template fills in to where its path finds nothing."""


class Scope(Struct, frozen=True):
    """What a path may begin with: in the document, and within $each (None: $each has no place here)."""

    names: tuple[str, ...]
    each: tuple[str, ...] | None = None


Value = Callable[[Document, Sequence[Document]], Any]
"""Fills in the document, and the documents for $each. Returns JSON, or ABSENT."""


def value(path: str, template: Any, scope: Scope) -> Value:
    """The value in the configuration at `path`, ready to be filled in. Raises ConfigError, which never shows it."""
    match template:
        case str() if template.startswith("$$"):
            return _constant(template[1:])
        case str() if template.startswith("$"):
            return _found(_compiled(path, template, scope))
        case {"$each": each, **rest} if not rest:
            return _each(path, each, scope)
        case dict():
            return _table(path, template, scope)
        case list() | tuple():
            elements = [value(f"{path}[{index}]", element, scope) for index, element in enumerate(template)]
            return lambda document, each: _present(element(document, each) for element in elements)
        case _:
            return _constant(template)


class Text:
    """A text with places, each for one text or number."""

    def __init__(self, path: str, template: str, scope: Scope) -> None:
        """Raises ConfigError, which never shows the template."""
        pieces = PLACE.split(template)
        self._literals = pieces[::2]
        self._paths = [_compiled(path, piece, scope) for piece in pieces[1::2]]
        if not all(found.singular_query() for found in self._paths):
            raise ConfigError(f"{path}: a path in a text must find one thing, without [*], .. or a filter")

    def fill(self, document: Document, encode: Callable[[str], str] = str) -> str:
        """The text with its places filled in, each through `encode`. Raises Dead("no_value") where there is nothing, or
        something else than a text, a number or a yes or no."""
        filled = [self._literals[0]]
        for path, literal in zip(self._paths, self._literals[1:], strict=True):
            filled += (encode(_text(_first(path, document))), literal)
        return "".join(filled)


class Url:
    """A URL with places behind its host. What fills them is quoted, and cannot lead to another path."""

    def __init__(self, path: str, template: str, scope: Scope) -> None:
        plain = PLACE.sub("<>", template)
        try:
            good = _URL.fullmatch(plain) is not None and urlsplit(plain).port != 0
        except ValueError:
            good = False
        if not good:
            raise ConfigError(
                f"{path} must be http:// or https://, a host without user or password, and a path; what differs from"
                " one request to the next is written {$.id}, and stands behind the host"
            )
        self._text = Text(path, template, scope)

    def fill(self, document: Document) -> str:
        """Raises Dead("no_value"), and Dead("bad_url") for what would be another path ("..")."""
        found = self._text.fill(document, _QUOTED)
        if {".", ".."} & set(found.partition("?")[0].split("/")):
            raise Dead("bad_url")
        return found


class Headers:
    """Headers with places in their values."""

    def __init__(self, path: str, template: Mapping[str, str], scope: Scope) -> None:
        check_headers(path, {name: PLACE.sub("", text) for name, text in template.items()})
        self._texts = {name: Text(f"{path}.{name}", text, scope) for name, text in template.items()}

    def fill(self, document: Document) -> dict[str, str]:
        """Raises Dead("no_value"), and Dead("bad_header") for what cannot stand in a header."""
        found = {name: text.fill(document) for name, text in self._texts.items()}
        if not all(map(_PRINTABLE.fullmatch, found.values())):
            raise Dead("bad_header")
        return found


def check_headers(path: str, headers: Mapping[str, str]) -> None:
    """Raises ConfigError for what cannot be sent as a header, or is not for us to set. Shows no value."""
    for name, text in headers.items():
        if not _NAME.fullmatch(name) or not _PRINTABLE.fullmatch(text):
            raise ConfigError(f"{path}: a header is a name of letters, digits and -, and printable ASCII text")
        if name.lower() in _OF_THE_CLIENT:
            raise ConfigError(f"{path}.{name} is set by the client")


PLACE: Final = re.compile(r"\{(\$[^{}]*)\}")
"""A place in a text; the group is its path."""

_URL: Final = re.compile(r"https?://[^/?#@{}<>\s]+([/?][^{}#\s]*)?")
_QUOTED: Final = partial(quote, safe="", errors="replace")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_OF_THE_CLIENT: Final = {"host", "content-length", "transfer-encoding", "connection", "te", "upgrade"}


class _Environment(jsonpath.JSONPathEnvironment):
    max_recursion_depth = 1_000  # what the receiver lets through is at most 500 deep


_PATHS = _Environment(strict=True)


def _compiled(path: str, text: str, scope: Scope) -> jsonpath.JSONPath:
    try:
        found = _PATHS.compile(text)
    except (jsonpath.JSONPathError, RecursionError):
        raise ConfigError(
            f'{path} begins with $ and is no JSONPath (RFC 9535), such as "$.id"; "$$" stands for a dollar sign'
        ) from None
    assert isinstance(found, jsonpath.JSONPath), "strict paths are no unions"
    match found.segments[:1]:
        case [JSONPathChildSegment(selectors=[NameSelector(name=name)])] if name not in scope.names:
            where = "here" if scope.each is None else "outside $each"
            raise ConfigError(f"{path}: there is no $.{name} {where}; there are: $.{', $.'.join(scope.names)}")
    return found


def _constant(constant: Any) -> Value:
    return lambda document, each: constant


def _found(path: jsonpath.JSONPath) -> Value:
    if path.singular_query():
        return lambda document, each: _first(path, document)
    return lambda document, each: path.findall(document)


def _first(path: jsonpath.JSONPath, document: Document) -> Any:
    return next(iter(path.findall(document)), ABSENT)


def _each(path: str, template: Any, scope: Scope) -> Value:
    if scope.each is None:
        raise ConfigError(f"{path}: $each has no place here: there is one thing only")
    inner = value(f"{path}.$each", template, Scope(scope.each))
    return lambda document, each: _present(inner(one, ()) for one in each)


def _table(path: str, template: dict[str, Any], scope: Scope) -> Value:
    if wrong := [key for key in template if key.startswith("$")]:
        toml.known(path, wrong, ("$each",))
        raise ConfigError(f"{path}: $each stands alone in its table")
    entries = {key: value(f"{path}.{key}", entry, scope) for key, entry in template.items()}

    def fill(document: Document, each: Sequence[Document]) -> dict[str, Any]:
        filled = {key: entry(document, each) for key, entry in entries.items()}
        return {key: entry for key, entry in filled.items() if entry is not ABSENT}

    return fill


def _present(filled: Any) -> list[Any]:
    return [element for element in filled if element is not ABSENT]


def _text(found: Any) -> str:
    match found:
        case bool():
            return "true" if found else "false"
        case int() | float():
            return msgspec.json.encode(found).decode()
        case str() if found:
            return found
        case _:
            raise Dead("no_value")
