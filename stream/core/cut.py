"""Cuts JSON text into the raw slices of its parts, without decoding or re-encoding anything.

msgspec cuts valid JSON in C. What it refuses (one broken element, nesting too deep for it) is scanned here for strings
and brackets only, so that one bad element costs no other one its way.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

import msgspec
from msgspec import Raw, Struct

WHITESPACE: Final = b" \t\r\n"
BOM: Final = b"\xef\xbb\xbf"

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)
_TO_COMMA = re.compile(rb'(?:[^",\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)
_RESUME = re.compile(rb",(?=[ \t\r\n]*+\{)")
_FIELD = re.compile(rb"(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+(.*)", re.DOTALL)
_STRINGS = re.compile(_STRING + rb"?", re.DOTALL)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")
_SIGNS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - _OPENING - _CLOSING)

# What a scan may cost: half a million brackets are a quarter of a second, and 8 MiB of real events hold half of that.
# Each element that never ends costs a scan to the end of the body. What lies behind is one element more, kept whole.
_MOST_STEPS = 500_000
_MOST_RESUMES = 8
# msgspec makes an object of ~100 bytes for each element before it can be told to stop; 8 MiB of real events hold
# some 300,000 commas, `[1,1,1…` four million.
_MOST_COMMAS = 500_000


class Top(Struct, rename={"sent_at": "sentAt", "write_key": "writeKey"}):
    """The fields of an SDK's batch that are not its events, and the batch itself, raw; b"" if absent."""

    batch: Raw = Raw(b"")
    context: Raw = Raw(b"")
    integrations: Raw = Raw(b"")
    sent_at: Raw = Raw(b"")
    write_key: Raw = Raw(b"")
    type: Raw = Raw(b"")


class _Wrapper(Struct, forbid_unknown_fields=True):
    json: Raw


_ARRAY = msgspec.json.Decoder(list[Raw])
_TOP = msgspec.json.Decoder(Top)
_WRAPPER = msgspec.json.Decoder(_Wrapper)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def start(body: bytes) -> bytes:
    """The first byte that means something; b"" if there is none. A byte order mark is passed over."""
    return body[:1] if body[:1] in (b"{", b"[") else body.removeprefix(BOM).lstrip(WHITESPACE)[:1]


def elements(body: bytes, most: int) -> list[bytes]:
    """The elements of a body that starts with `[`, byte-equal and in order, and no more than `most` of a longer one.

    Of a broken array: every element that can be told apart, and the broken stretches between them. An element that
    never ends (a quote or a bracket is missing) is cut at its first `,{`.
    """
    if body.count(b",") < _MOST_COMMAS:
        try:
            return [bytes(raw) for raw in _ARRAY.decode(body)[:most]]
        except _UNREADABLE:
            pass
    return list(islice(_Scan(body, b"[", b"]").pieces(_MOST_RESUMES), most))


def first(body: bytes) -> bytes:
    """`elements(body, 1)[0]` at the price of that element alone; b"" if there is none."""
    return next(_Scan(body, b"[", b"]").pieces(_MOST_RESUMES), b"")


def top(body: bytes) -> Top:
    """The known fields of a body that starts with `{`, byte-equal; none of them if they cannot be told apart."""
    try:
        return _TOP.decode(body)
    except _UNREADABLE:
        found = dict(_named(body))
        return Top(**{name: Raw(found.get(wire, b"")) for name, wire in _TOP_NAMES})


def unwrapped(element: bytes) -> bytes | None:
    """The event in an element `{"json": {…}}` of an Extensible webhook's batch; None for any other element."""
    if b'"json"' not in element[:32]:
        return None
    try:
        inner = bytes(_WRAPPER.decode(element).json)
    except _UNREADABLE:
        found = list(islice(_named(element), 2))
        inner = found[0][1] if len(found) == 1 and found[0][0] == "json" else b""
    return inner if start(inner) == b"{" else None


def deeper(value: bytes, limit: int) -> bool:
    """Whether brackets are nested more than `limit` deep."""
    if value.count(b"{") + value.count(b"[") <= limit:
        return False
    signs = _STRINGS.sub(b"", value).translate(_SIGNS, _NOT_BRACKETS)
    return max(accumulate(memoryview(signs).cast("b")), default=0) > limit


def _named(body: bytes) -> Iterator[tuple[str, bytes]]:
    if start(body) != b"{":
        return
    for piece in _Scan(body, b"{", b"}").pieces():
        found = _FIELD.fullmatch(piece)
        if found is None:
            return
        yield found[1][1:-1].decode("utf-8", "replace"), found[2]


class _Scan:
    """What lies between the commas of the outermost bracket, whatever it is."""

    def __init__(self, body: bytes, opening: bytes, closing: bytes) -> None:
        self._body = body
        self._begin = body.index(opening) + 1
        self._whole = len(body.rstrip(WHITESPACE))
        self._end = self._whole - body.endswith(closing, self._begin, self._whole)
        self._steps = _MOST_STEPS

    def pieces(self, resumes: int = 0) -> Iterator[bytes]:
        at = self._begin
        while at < self._end:
            stop = self._comma(at)
            if stop is None and resumes:
                resumes -= 1
                found = _RESUME.search(self._body, at, self._end)
                stop = found.start() if found else None
            # What never ends is kept with all that follows it, the outermost closing bracket included.
            piece = self._body[at : self._whole if stop is None else stop].strip(WHITESPACE)
            if piece:
                yield piece
            at = self._end if stop is None else stop + 1

    def _comma(self, at: int) -> int | None:
        """Where the element that begins here ends; None if it does not."""
        body, end, depth = self._body, self._end, 0
        while self._steps:
            self._steps -= 1
            found = (_TO_BRACKET if depth else _TO_COMMA).match(body, at, end)
            at = found.end() if found else end
            if at == end:
                return None if depth else end
            if body[at] in _OPENING:
                depth += 1
            elif body[at] in _CLOSING:
                depth -= depth > 0  # one too many is part of what is broken
            else:
                return None if body[at] == ord('"') else at
            at += 1
        return None


_TOP_NAMES = tuple((field.name, field.encode_name) for field in msgspec.structs.fields(Top))
