"""/v1/…: Segment's Tracking API, for SDKs that are pointed here. Facts: http-api; what the SDKs were seen to send."""

import base64
import binascii
import re
from functools import lru_cache
from typing import Final

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from stream.core import cut, envelope
from stream.core.post import Post
from stream.receiver.access import Access, Door, basic_key
from stream.receiver.answer import Refused, Success, refusal
from stream.receiver.body import Body
from stream.receiver.intake import Intake

_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")
# Browsers use the first letter, and /v1/b for a batch.
PATHS: Final = {
    **{kind: kind for kind in _TYPES},
    **{kind[0]: kind for kind in _TYPES},
    **{name: "" for name in ("batch", "import", "b")},
}

_GIF: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_ANY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Final = {
    **_ANY_ORIGIN,
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, X-Retry-Count",
    "Access-Control-Max-Age": "86400",
}
_SDK_NAME: Final = re.compile(r"analytics[A-Za-z0-9_-]*")


class Sdk:
    """Answers the SDK paths and the pixel."""

    def __init__(self, intake: Intake, access: Access) -> None:
        self._intake, self._access = intake, access
        self._success = Success(intake.clock, _ANY_ORIGIN)

    def routes(self) -> list[web.RouteDef]:
        """Every path with POST, and OPTIONS for a browser's preflight; the pixel with GET."""
        posts = [web.post(f"/v1/{name}", self._answer) for name in PATHS]
        preflights = [web.options(f"/v1/{name}", self._preflight) for name in PATHS]
        return [*posts, *preflights, *[web.get(f"/v1/pixel/{kind}", self._pixel) for kind in _TYPES]]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = await self._intake.answer(request, "sdk", self._take)
        response.headers.update(_ANY_ORIGIN)
        return response

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await self._intake.body(request)
        return await self._keep(request, body, PATHS[request.path.rpartition("/")[2]])

    async def _keep(self, request: web.Request, body: Body, kind: str) -> web.StreamResponse:
        door = self._access.write_key(*_write_keys(request.headers, body.text))
        if door is None:
            # Nobody's, and no repeat will mend it; a key that we do not know yet may be configured soon.
            raise self._intake.unknown_write_key() if _is_object(body.text) else Refused(400, "malformed JSON")
        post = self._post(request.headers, door, kind)
        if body.readable:
            opened = envelope.open_body(body.text, post, self._intake.limits)
        else:
            opened = envelope.keep_whole(body.text, post, "bad_encoding")
        await self._intake.keep(opened.messages, door.source)
        if opened.reason in envelope.MALFORMED:
            return refusal(Refused(400, "malformed JSON"))
        return self._success.to(request)

    async def _pixel(self, request: web.Request) -> web.Response:
        """A 1x1 image, whatever happens. Segment answers 200 to what is malformed; what is not kept is no 200."""
        response = await self._intake.answer(request, "pixel", self._take_pixel)
        status = 200 if response.status == 400 else response.status
        return web.Response(body=_GIF, status=status, content_type="image/gif", headers={"Cache-Control": "no-store"})

    async def _take_pixel(self, request: web.Request) -> web.StreamResponse:
        data = request.query.get("data")
        # Plain parameters have no body to keep: the event is made of them.
        text = msgspec.json.encode(dict(request.query)) if data is None else _base64(data)
        return await self._keep(request, Body(text), request.path.rpartition("/")[2])

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_PREFLIGHT)

    def _post(self, headers: CIMultiDictProxy[str], door: Door, kind: str) -> Post:
        return Post(
            source=door.source,
            space=door.space,
            received=self._intake.clock(),
            path="sdk",
            content_type=headers.get("Content-Type", ""),
            sender=_family(headers.get("User-Agent", "")),
            trusted=door.trusts(headers),
            kind=kind,
        )


def _write_keys(headers: CIMultiDictProxy[str], text: bytes) -> tuple[str, ...]:
    key = basic_key(headers.get("Authorization", ""))
    if cut.start(text) != b"{":
        return (key,)
    try:
        return (key, msgspec.json.decode(cut.top(text).write_key, type=str))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (key,)


def _is_object(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=cut.Top)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _base64(data: str) -> bytes:
    """The text in a pixel's `data`; as it came, where it is no base64."""
    text = data.replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return data.encode("utf-8", "replace")


@lru_cache(256)
def _family(user_agent: str) -> str:
    named = _SDK_NAME.match(user_agent)
    return named[0] if named else "browser" if user_agent.startswith("Mozilla/") else "other"
