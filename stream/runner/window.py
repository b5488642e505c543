"""Window: how many deliveries of the log are in memory."""

import asyncio
from contextlib import suppress

_LOW = 0.75  # full to this degree it is worth a fetch: they come in larger pieces


class Window:
    """The deliveries of one member that are open."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.open = 0
        self._low = int(size * _LOW)
        self._freed: asyncio.Event | None = None

    def more(self) -> None:
        """One more is open."""
        self.open += 1

    def less(self, amount: int = 1) -> None:
        """They are not any more."""
        self.open -= amount
        if self._freed is not None and self.open <= self._low:
            self._freed.set()

    async def freed(self, longest: float) -> None:
        """Returns once a fetch is worth it again, or after so many seconds."""
        if self.open <= self._low:
            return
        self._freed = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._freed.wait()
        self._freed = None
