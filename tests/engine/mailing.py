"""Three syncs and the API of tests/mailing_list.py behind them: real projections, store, gate, leases and flows."""

import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from stream.connector import Change, Flow, Limits, Request, Response
from stream.http import Allow
from stream.http.performer import drive
from tests.embedded import Clock
from tests.engine.syncs import TIMEOUT_S
from tests.mailing_list import MailingList, Seen

T = TypeVar("T")

LATE_S = 15.0  # longer than a request may take, shorter than what was not answered may still arrive


class Api:
    """A connector for it, which knows people by their e-mail addresses."""

    name = "crm"
    kinds: tuple[str, ...] = ("email",)
    limits = Limits(timeout_s=TIMEOUT_S)
    bulk: Mapping[str, int] = {"set_membership": 10}

    def set_membership(self, changes: Sequence[Change]) -> Flow[None]:
        verb = "add" if changes[0].value else "remove"
        return self._ask("POST", f"/lists/{changes[0].name}/members", {verb: [change.id for change in changes]})

    def set_consent(self, changes: Sequence[Change]) -> Flow[None]:
        (change,) = changes
        return self._ask("PUT", f"/people/{quote(change.id)}/consents/{change.name}", {"value": change.value})

    def upsert_profile(self, changes: Sequence[Change]) -> Flow[None]:
        (change,) = changes
        return self._ask("PUT", f"/people/{quote(change.id)}", change.value)

    def delete_person(self, changes: Sequence[Change]) -> Flow[None]:
        (change,) = changes
        return self._ask("DELETE", f"/people/{quote(change.id)}", None)

    def _ask(self, method: str, path: str, body: object) -> Generator[Request, Response, None]:
        encoded = None if body is None else json.dumps(body).encode()
        yield Request(destination=self.name, method=method, url=f"https://crm.example{path}", body=encoded)


class Line:
    """A performer and the API behind it. `before` and `after` meet each request around its effect, and may raise; one
    that is made while it `delays` is carried out only LATE_S later, unless `arrive` says otherwise."""

    def __init__(self, clock: Clock) -> None:
        self.state = MailingList()
        self.asked: list[Seen] = []
        self._clock = clock
        self.before: Callable[[Seen], Awaitable[None]] | None = None
        self.after: Callable[[Seen], Awaitable[None]] | None = None
        self.delays = False
        self._late: list[Seen] = []

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        async def ask(request: Request) -> Response:
            path = request.url.removeprefix("https://crm.example")
            seen = Seen(method=request.method, path=path, headers={}, body=request.body or b"", at=self._clock.now)
            if self.before is not None:
                await self.before(seen)
            await allow(request)
            self.arrive()
            self.asked.append(seen)
            if self.delays:
                self._late.append(seen)
            else:
                self.state.do(seen)
            if self.after is not None:
                await self.after(seen)
            return Response(status=200)

        return await drive(flow, ask)

    def arrive(self) -> None:
        """What was on its way for long enough is carried out."""
        while self._late and self._late[0].at + LATE_S <= self._clock.now:
            self.state.do(self._late.pop(0))
