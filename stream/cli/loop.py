"""The event loop of `stream run`."""

import asyncio
import socket
from typing import Any


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    loop.set_exception_handler(_unheard)
    return loop


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody heard is logged; but not how uvloop's lookup of a name ended for a connection that had been given up.
    Whoever wanted that one has heard of it."""
    future = context.get("future")
    given_up = isinstance(context.get("exception"), socket.gaierror) and not isinstance(future, asyncio.Task)
    if future is None or not given_up:
        loop.default_exception_handler(context)
