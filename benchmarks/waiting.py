"""A reactor whose handle() waits as long as a destination nearby takes to answer: what benchmarks/members.py runs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from stream.events import Event
from stream.processor import Reactor

ANSWER_S = 0.002


class Waiting(Reactor):
    name = "waiting"
    topics = ("track",)

    async def handle(self, event: Event) -> None:
        await asyncio.sleep(ANSWER_S)


def build(app: Any, settings: Mapping[str, Any]) -> Sequence[Reactor]:
    return [Waiting()]
