"""Following: what comes for a held lane while its turn is under way.

A turn takes as long as a destination lets it. If what comes meanwhile crowds the window, it goes behind what is held
at once, rather than keep everybody else out until the turn is over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stream.core import policy
from stream.runner.keeping import Keeping
from stream.runner.member import Member

_LOOK_S = 0.02


class Following:
    """Keeps what comes for lanes at their turn from filling the window."""

    def __init__(self, member: Member, keeping: Keeping) -> None:
        self._member = member
        self._keeping = keeping

    @asynccontextmanager
    async def during(self, key: str) -> AsyncIterator[asyncio.Lock]:
        """While a turn of this lane is under way. Whoever changes the lane holds the lock: under it, either the lane is
        held and what follows goes behind it, or it is not, and what follows waits in memory."""
        lock = asyncio.Lock()
        following = asyncio.create_task(self._follow(key, lock))
        try:
            yield lock
            async with lock:  # what is being written is written
                following.cancel()
        finally:
            following.cancel()
            await asyncio.wait([following])
            failed = None if following.cancelled() else following.exception()
        if failed is not None:
            raise failed

    async def _follow(self, key: str, lock: asyncio.Lock) -> None:
        member, keeping = self._member, self._keeping
        while True:
            await asyncio.sleep(_LOOK_S)
            if policy.crowds(member.lanes.waiting(key), member.window.size):
                async with lock:
                    if key in member.known:  # what comes meanwhile is for the next time: the turn may wait for the lock
                        await keeping.put_behind(key, keeping.behind(key))
