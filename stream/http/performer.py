"""Performer: who carries out a flow's requests; and how a flow is driven, whoever carries them out."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from stream.connector import Flow, Request, Response
from stream.errors import Dead, Refused

T = TypeVar("T")

Allow = Callable[[Request], Awaitable[None]]
"""Awaited for every request after all waiting, right before its bytes go out. What it raises ends the flow, and nothing
was sent."""


class Performer(Protocol):
    """Carries out flows: over the network (Client), or only on paper (Recorder)."""

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        """What the flow returns. At one destination, what withdraws (not `gives`) goes before what gives, and both
        before what is `slow`, a walk's.

        Raises what `allow` or the flow raises; Retry and Dead as the destination answers; NotYet where the rates or the
        line leave no turn for some time: that request was not sent, earlier ones of the flow were. The flow is closed
        in any case."""
        ...


async def drive(flow: Flow[T], ask: Callable[[Request], Awaitable[Response]]) -> T:
    """What the flow returns, once each request that it yields was asked. Refused is thrown into it; what it does not
    catch is Dead. Everything else that `ask` raises ends it."""
    try:
        request = next(flow)
        while True:
            try:
                response = await ask(request)
            except Refused as refused:
                request = flow.throw(refused)
            else:
                request = flow.send(response)
    except StopIteration as done:
        found: T = done.value
        return found
    except Refused as refused:
        raise Dead(str(refused)) from None
    finally:
        flow.close()
