"""What an author of a reactor sends with: `app.http`.

A delivery is handled in a context of its own, which knows who is asked and what is remembered; so the same handle()
runs live, in a replay, and in a dry run that sends nothing.
"""

from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from stream.connector import Flow
from stream.errors import StreamError

T = TypeVar("T")


class Sends(Protocol):
    """What stands behind app.http while one delivery is handled."""

    async def run(self, flow: Flow[Any], about: str, purpose: str, gives: bool, address: str) -> Any: ...
    async def read(self, flow: Flow[Any]) -> Any: ...


class Http:
    """Runs flows on behalf of the delivery that is being handled."""

    async def run(self, flow: Flow[T], *, about: str, purpose: str, gives: bool = True, address: str = "") -> T | None:
        """Runs a flow about a subject (`event.subject`), for a purpose, once for this delivery; what the flow returns,
        or None if it was done before. `gives=False` for what only takes away (an opt-out, a deletion): consent is not
        asked. `address` (`email:a@b.c`): how the destination knows the person from now on, so that a deletion finds it.

        Raises Skip if the person may not be given this; Retry and Dead as the destination answers. Calls of one
        delivery are made one after another."""
        found: T | None = await _sends().run(flow, about, purpose, gives, address)
        return found

    async def read(self, flow: Flow[T]) -> T:
        """Runs a flow that only reads (GET, HEAD): always, in a dry run as well. Asks no consent."""
        found: T = await _sends().read(flow)
        return found


class delivering:
    """While the block lasts, `app.http` in this task sends through `sends`."""

    def __init__(self, sends: Sends) -> None:
        self._sends = sends

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._sends)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


def _sends() -> Sends:
    found = _CURRENT.get()
    if found is None:
        raise StreamError("app.http is used outside handle() of a reactor")
    return found


_CURRENT: ContextVar[Sends | None] = ContextVar("sends", default=None)
