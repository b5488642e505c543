"""Items: what waits in a lane."""

import asyncio

from msgspec import Struct

from stream.core.policy import Tries
from stream.message import Delivery
from stream.runner.part import Part

_NONE = Tries()


class Fresh(Struct, eq=False):
    """A delivery of the log, in the window until it has ended. `leaves`: it is to be held without another try, for this
    reason, until then."""

    delivery: Delivery
    part: Part
    tries: Tries = _NONE
    leaves: tuple[str, float] | None = None


class Extra(Struct, eq=False):
    """A delivery that is not of the log. Its fate, or what was raised, goes to whoever put it."""

    delivery: Delivery
    slow: bool
    done: "asyncio.Future[str]"


class Turn(Struct, eq=False):
    """It is the turn of what is held of this lane. `done`: what became of each that was tried, by its number."""

    done: "asyncio.Future[dict[int, str]] | None" = None


Item = Fresh | Extra | Turn
