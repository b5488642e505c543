"""Reads a request's body, within a size and a time."""

import asyncio
import zlib

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct

from stream.receiver.answer import Refused

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_MOST_MEMBERS = 16  # a gzip text may be several, one after the other


class Body(Struct, frozen=True):
    """The text of a body; as it came, where its Content-Encoding could not be undone."""

    text: bytes
    readable: bool = True


async def read(request: web.Request, most: int, seconds: float) -> Body:
    """The whole body, inflated. Raises Refused: 413 beyond `most` bytes (inflated), 503 if it does not come in time
    (classic senders never repeat a 408) or breaks off."""
    if (request.content_length or 0) > most:
        raise _too_large(most)
    text = await _collect(request, most, seconds)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return Body(text)
    inflated = _inflate(text, encoding, most)
    return Body(text, readable=False) if inflated is None else Body(inflated)


async def _collect(request: web.Request, most: int, seconds: float) -> bytes:
    content = request.content
    if content.is_eof() and content.exception() is None:
        return _within(content.read_nowait(), most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while part := await content.readany():
                parts.append(_within(part, most - size))
                size += len(part)
    except TimeoutError:
        raise Refused(503, "the body took too long", close=True) from None
    except (ClientError, HttpProcessingError, ConnectionError):
        raise Refused(503, "the body broke off", close=True) from None
    return b"".join(parts)


def _within(part: bytes, most: int) -> bytes:
    if len(part) > most:
        raise _too_large(most)
    return part


def _inflate(text: bytes, encoding: str, most: int) -> bytes | None:
    """Never holds more than `most` bytes of inflated text. None if this is not what the encoding says."""
    inflated, rest = b"", text
    try:
        for _ in range(_MOST_MEMBERS):
            inflater = zlib.decompressobj(_WINDOWS[encoding])
            inflated += inflater.decompress(rest, most + 1 - len(inflated))
            _within(inflated, most)
            rest = inflater.unused_data
            if not (inflater.eof and rest):
                return inflated if inflater.eof else None
    except (zlib.error, KeyError):
        return None
    return None


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes")
