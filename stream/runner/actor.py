"""Actor: what a runner runs, a reactor or a sync."""

from collections.abc import Sequence
from typing import Protocol

from stream.config import LaneConfig
from stream.message import Delivery


class Actor(Protocol):
    """Acts on deliveries, those of one lane one at a time and in order."""

    @property
    def name(self) -> str:
        """Of the processor."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Their full names."""
        ...

    @property
    def config(self) -> LaneConfig: ...

    @property
    def joins(self) -> bool:
        """Are all deliveries of a lane that wait acted on together, as one look?"""
        ...

    def lane(self, delivery: Delivery) -> str:
        """Which lane a delivery belongs to. Never raises."""
        ...

    def skips(self, delivery: Delivery) -> str | None:
        """The fate ("skipped:<reason>") of what is nothing for this actor, as soon as it is fetched: it is never acted
        on, nor joined with what is. Never raises."""
        ...

    def about(self, delivery: Delivery) -> tuple[str, float]:
        """Whom it is about, and its event's time: under what it lies in held. Never raises."""
        ...

    async def act(self, deliveries: Sequence[Delivery], slow: bool) -> bool:
        """Acts on one delivery; where the actor joins, on some of one lane, as one. `slow`: only a walk asks for it,
        and live traffic comes first. Returns, once what it did is durable, whether it asked its destination anything:
        whoever asked nothing cannot tell whether it is there. Raises Skip, Retry, NotYet, Dead, or a bug. May be
        cancelled when its partition goes to another member and the grace is over."""
        ...
