"""What a request is answered. Segment retries 503; 400, 401 and 413 lose the event for good (facts on retries)."""

from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_SUCCESS: Final = b'{"success":true}'
_JSON: Final = "application/json"
_CODES: Final = {400: "invalid_request", 401: "unauthorized", 413: "too_large", 503: "try_again"}


class Refused(Exception):
    """This request is not kept. `after`: seconds until a repeat may succeed. `close`: so is the connection, at once."""

    def __init__(self, status: int, message: str, after: int = 1, close: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.after, self.close = status, message, after, close


def refusal(refused: Refused) -> web.Response:
    """An error in the form of Segment's Tracking API, which its SDKs read (analytics-python: code and message)."""
    body = {"success": False, "message": refused.message, "code": _CODES[refused.status]}
    headers = {"Retry-After": str(refused.after)} if refused.status == 503 else {}
    response = web.Response(body=msgspec.json.encode(body), status=refused.status, headers=headers, content_type=_JSON)
    if refused.close or refused.status == 413:
        response.force_close()
    return response


class Success:
    """What is answered when everything in a request is durable."""

    def __init__(self, clock: Callable[[], float], headers: Mapping[str, str]) -> None:
        self._clock, self._headers = clock, headers
        self._second, self._written = -1, _Written(b"")

    def to(self, request: web.Request) -> web.StreamResponse:
        """The answer to this request."""
        if request.version != HttpVersion11 or not request.keep_alive:
            return web.Response(body=_SUCCESS, headers=self._headers, content_type=_JSON)
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, _Written(self._text(second))
        return self._written

    def _text(self, second: int) -> bytes:
        named = {
            "Content-Type": _JSON,
            "Content-Length": str(len(_SUCCESS)),
            "Date": formatdate(second, usegmt=True),
            **self._headers,
        }
        lines = ("HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in named.items()), "", "")
        return "\r\n".join(lines).encode() + _SUCCESS


class _Written(web.StreamResponse):
    """An answer written out beforehand, for any number of requests. Making and writing one anew each time costs as
    much as all else that is done for a request."""

    keep_alive = True

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is not None:
            request.transport.write(self._text)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        pass
