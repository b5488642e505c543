"""Recorder: the dry run. A Performer that shows what would go out, and sends nothing."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_plus

from msgspec import Struct

from stream.connector import Flow, Request, Response
from stream.errors import Refused
from stream.http.performer import Allow, Performer, drive

T = TypeVar("T")

_READS = ("GET", "HEAD")
_ALWAYS = ("authorization", "proxy-authorization", "cookie")  # headers that hold nothing but a secret
_MASK = "***"


class Shown(Struct, frozen=True, kw_only=True):
    """One request as it may be shown: each secret in it is `***`. A body that is no text is shown in escapes."""

    destination: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


class Recorder:
    """Gives each request to `show`, once it is allowed, and answers 200 with `{}`. With `reads`, requests that only
    read (GET, HEAD) are made there, and not shown."""

    def __init__(self, show: Callable[[Shown], None], reads: Performer | None = None) -> None:
        self._show = show
        self._reads = reads

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        async def ask(request: Request) -> Response:
            if self._reads is not None and request.method.upper() in _READS:
                return _answer(await self._reads.perform(_one(request), allow, gives, slow))
            await allow(request)
            self._show(shown(request))
            return Response(status=200, body=b"{}")

        return await drive(flow, ask)


def shown(request: Request) -> Shown:
    """The request with its secrets masked, in whatever form they stand there: plain, in a URL, in JSON, in base64."""
    forms = sorted({form for secret in request.secrets if secret for form in _forms(secret)}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def masked(text: str) -> str:
        return pattern.sub(_MASK, text) if pattern else text

    return Shown(
        destination=request.destination,
        method=request.method,
        url=masked(request.url),
        headers={name: _MASK if name.lower() in _ALWAYS else masked(value) for name, value in request.headers.items()},
        body=None if request.body is None else masked(request.body.decode(errors="backslashreplace")),
    )


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield b64encode(secret.encode()).decode()


def _one(request: Request) -> Flow[Response | Refused]:
    try:
        return (yield request)
    except Refused as refused:
        return refused


def _answer(found: Response | Refused) -> Response:
    if isinstance(found, Refused):
        raise found
    return found
