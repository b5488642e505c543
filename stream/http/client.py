"""Client: the Performer that talks to destinations."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from aiohttp.abc import AbstractResolver

from stream.connector import Flow, Limits, Request, Response
from stream.errors import ConfigError
from stream.http.destination import Around, Destination
from stream.http.performer import Allow, drive
from stream.http.slots import rank
from stream.telemetry import Metrics

T = TypeVar("T")


class Client:
    """Carries out flows at the destinations it was opened for, each with connections, slots and rates of its own."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        limits: Mapping[str, Limits],
        clock: Callable[[], float],
        metrics: Metrics,
        resolver: AbstractResolver | None = None,
    ) -> AsyncIterator["Client"]:
        """`limits` by the names of the destinations. `clock`: seconds since the epoch. `resolver`: asked for addresses
        instead of the system. Raises ConfigError for a rate that is none."""
        around = Around(clock, metrics, _agent(), resolver)
        async with AsyncExitStack() as stack:
            yield cls(
                {
                    name: await stack.enter_async_context(Destination.open(name, one, around))
                    for name, one in limits.items()
                }
            )

    def __init__(self, destinations: Mapping[str, Destination]) -> None:
        self._destinations = destinations

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        """See Performer. Raises ConfigError for a destination that is not configured."""
        turn = rank(gives, slow)

        async def ask(request: Request) -> Response:
            destination = self._destinations.get(request.destination)
            if destination is None:
                raise ConfigError(f"connectors.{request.destination}: a request goes there, and it is not configured")
            return await destination.ask(request, allow, turn)

        return await drive(flow, ask)


def _agent() -> str:
    try:
        return f"segment-stream/{version('segment-stream')}"
    except PackageNotFoundError:  # run from a checkout
        return "segment-stream"
