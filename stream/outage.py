"""Outages: a full disk or a lost server is waited out, loudly once, and never ends in a loss."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from stream.errors import ClaimLost, Conflict, LogError, LogRefused, SchemaMismatch, StoreError, StoreRefused

T = TypeVar("T")

logger = structlog.get_logger()

_FIRST_S, _LONGEST_S = 0.1, 5.0


async def outlast(
    attempt: Callable[[], Awaitable[T]], processor: str, of: tuple[type[Exception], ...] = (LogError, StoreError)
) -> T:
    """What `attempt` returns, once log and store answer again: once it raises none `of` these. It may be called many
    times; a conflict or a lost claim is an answer, and raised. So is what no waiting mends: a wrong password, another
    version's tables."""
    wait = 0.0
    while True:
        try:
            done = await attempt()
        except (ClaimLost, Conflict, LogRefused, SchemaMismatch, StoreRefused):
            raise
        except of as error:
            if not wait:
                logger.warning("outage_began", processor=processor, reason=str(error))
            wait = min(max(wait * 2, _FIRST_S), _LONGEST_S)
            await asyncio.sleep(wait)
            continue
        if wait:
            logger.warning("outage_ended", processor=processor)
        return done
