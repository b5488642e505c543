"""Moves what lies in spill files to the log, in order, for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from stream.errors import LogError
from stream.log.spill_file import SpillFile
from stream.message import Message

_MOST = 2_000  # messages in one append: more gain little, and keep the loop from others for tens of milliseconds
_UNTIDY = 50_000  # messages; deleting takes turns with what comes in, and the disk (measured: half of the time)
_FIRST = 64  # after a failure: they are sent again, and may have arrived
_FIRST_S = 0.1  # between two tries; then twice that, and so on
_ANYWAY_S = 15.0  # it is tried, whatever the log says of itself

Append = Callable[[Sequence[Message]], Awaitable[None]]
"""Returns once the log has them. Raises LogError."""


class Drain:
    """Moves one file after another. Remembers whether the log is `well`, and how much it takes at once: more from time
    to time, little after a failure."""

    def __init__(self, append: Append, trouble: Callable[[], Awaitable[str | None]], longest_wait_s: float) -> None:
        self.well = True
        self._append = append
        self._trouble = trouble
        self._longest_s = longest_wait_s
        self._limit = _FIRST

    async def most(self, file: SpillFile) -> None:
        """Returns once the log takes something and so little is left that one append holds it. Waits out outages."""
        wait = _FIRST_S
        while not file.empty and (not self.well or file.messages > self._limit):
            try:
                await self._step(file)
            except LogError:
                await self._pause(file, wait)
                wait *= 2
            else:
                wait = _FIRST_S
        await file.tidy()  # what is left to delete must not keep rest() busy

    async def rest(self, file: SpillFile) -> None:
        """Returns once the file is empty, if nothing more comes. Raises LogError: not all of it is moved."""
        while not file.empty:
            await file.tidy()  # then what was being written is there to be moved
            await self._step(file)

    async def whole(self, file: SpillFile) -> None:
        """Returns once the file is empty; nothing may be put into it meanwhile. Waits out outages."""
        while not file.empty:
            await self.most(file)
            with suppress(LogError):  # then it is most() that waits
                await self.rest(file)
        await file.shrink()

    async def _step(self, file: SpillFile) -> None:
        some = await file.next(self._limit)
        if some:
            limit, self._limit, self.well = self._limit, _FIRST, False
            await self._append([delivery.message for delivery in some])
            self._limit, self.well = min(limit * 4, _MOST), True
            file.moved(some)
        if not some or file.untidy >= _UNTIDY:
            await file.tidy()

    async def _pause(self, file: SpillFile, wait: float) -> None:
        """Waits, for this many seconds at least, until the log says that it is well. What a log takes that is away may
        arrive late, so it is not asked again and again."""
        anyway = asyncio.get_running_loop().time() + _ANYWAY_S
        while True:
            await asyncio.sleep(min(wait, self._longest_s))
            await file.look()
            if await self._trouble() is None or asyncio.get_running_loop().time() >= anyway:
                return
            wait *= 2
