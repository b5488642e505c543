"""Reads an answer's body: never more than a bound, inflated or not."""

import zlib

from aiohttp import ClientPayloadError, ClientResponse

_ANY = 47  # zlib: find out whether it is gzip or deflate
_KNOWN = ("gzip", "x-gzip", "deflate")


async def read(response: ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body, inflated; and whether it was cut after `most` bytes. Raises ClientPayloadError for what broke off or is
    not what its Content-Encoding says."""
    text, cut = await _collect(response, most)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or not text:
        return text, cut
    return _inflated(text, encoding, most, cut)


async def _collect(response: ClientResponse, most: int) -> tuple[bytes, bool]:
    content = response.content
    if content.is_eof() and content.exception() is None:
        text = content.read_nowait()
    else:
        text = await content.readany()
        while len(text) <= most and (part := await content.readany()):
            text += part
    return text[:most], len(text) > most  # what was not read is never read: aiohttp then closes the connection


def _inflated(text: bytes, encoding: str, most: int, cut: bool) -> tuple[bytes, bool]:
    if encoding not in _KNOWN:
        raise ClientPayloadError("unknown content encoding")
    inflater = zlib.decompressobj(_ANY)
    try:
        found = inflater.decompress(text, most + 1)
    except zlib.error:
        raise ClientPayloadError("not what its content encoding says") from None
    if len(found) > most:
        return found[:most], True
    if not (cut or inflater.eof):
        raise ClientPayloadError("breaks off")
    return found, cut
