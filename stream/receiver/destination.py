"""POST /segment and /segment/NAME: what Segment's destinations send. Facts: Tray.io, Webhooks classic and Actions,
Extensible webhooks, Functions. Signed, answered as in docs/operating.md."""

from functools import lru_cache
from typing import Final

from aiohttp import web

from stream.core import envelope
from stream.core.post import Post
from stream.receiver.access import DEFAULT_SOURCE, Access
from stream.receiver.answer import Success
from stream.receiver.intake import Intake

EXPLANATION: Final = "Segment posts events here: set this URL in a Webhooks or Tray.io destination.\n"

_SENDERS: Final = (("Segment.io/", "classic"), ("Segment (Actions)", "actions"), ("node-fetch", "functions"))
_UNKNOWN: Final = "unknown"  # never a name from the URL: anybody can make those up


class Destination:
    """Answers the destination paths."""

    def __init__(self, intake: Intake, access: Access) -> None:
        self._intake, self._access = intake, access
        self._success = Success(intake.clock, {})

    def routes(self) -> list[web.RouteDef]:
        """The paths, with POST, PUT and PATCH, and an explanation for people who open them in a browser."""
        answers = [(method, self._answer) for method in ("POST", "PUT", "PATCH")]
        answers += [("GET", self._explain)]  # and HEAD with it
        paths = ("/segment", "/segment/{source}")
        return [web.route(method, path, answer) for path in paths for method, answer in answers]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self._intake.answer(request, "destination", self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        door = self._access.destination(request.match_info.get("source", DEFAULT_SOURCE))
        if door is None:
            raise self._intake.bad_signature(_UNKNOWN)
        body = await self._intake.body(request)
        signed, trusted = door.signed_part(body.text, request.headers), door.trusts(request.headers)
        if not door.admits(signed, trusted):
            raise self._intake.bad_signature(door.source)
        post = Post(
            source=door.source,
            space=door.space,
            received=self._intake.clock(),
            content_type=request.headers.get("Content-Type", ""),
            sender=_family(request.headers.get("User-Agent", "")),
            signed=signed,
            trusted=trusted,
        )
        if body.readable:
            opened = envelope.open_body(body.text, post, self._intake.limits)
        else:
            opened = envelope.keep_whole(body.text, post, "bad_encoding")
        await self._intake.keep(opened.messages, door.source)
        return self._success.to(request)

    async def _explain(self, request: web.Request) -> web.Response:
        return web.Response(text=EXPLANATION)


@lru_cache(256)
def _family(user_agent: str) -> str:
    return next((family for start, family in _SENDERS if user_agent.startswith(start)), "other")
