"""Errands: what commands ask of running processes, carried out one after another, each durable before it is done.

A command writes a request into the store; so a person can be forgotten, a held delivery tried again, while a process
runs, and what is asked while none runs waits. What any process could do is done by the one whose duty it is; what is
about a partition, by whoever owns it. An errand that is cut off is run again from its beginning: each is harmless to
repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import msgspec

from stream import headers, topics
from stream.batch import Surroundings
from stream.core import envelope
from stream.errands_sync import sync
from stream.errors import ClaimLost, StreamError
from stream.message import Delivery, Message, Partition
from stream.outage import outlast
from stream.store.requests import Request
from stream.worker import Worker

_LOOK_S = 0.3
_ANYBODYS = ("forget", "invalid.retry", "resume")


class NotDone(StreamError):
    """A request that cannot be carried out. Says why."""


class Errands:
    """Carries out requests on the processors of this process. `elsewhere`: those that other processes may run, too:
    what is asked of them is left to these."""

    def __init__(
        self, around: Surroundings, worker: Worker, limits: envelope.Limits, elsewhere: Collection[str] = ()
    ) -> None:
        self._around = around
        self._worker = worker
        self._limits = limits
        self._elsewhere = elsewhere
        self._kinds: Mapping[str, Callable[[Request], Awaitable[str | None]]] = {
            "forget": self._forget,
            "held.retry": self._retry_held,
            "held.drop": self._drop_held,
            "invalid.retry": self._retry_invalid,
            "resume": self._resume,
            "sync": self._sync,
        }

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await outlast(self.step, "errands")
            await asyncio.sleep(_LOOK_S)

    async def step(self) -> int:
        """Carries out what is asked now, as far as it is this process' to do; how many requests there were."""
        requests = await self._around.store.requests.open()
        for request in requests:
            result = await outlast(partial(self._carried_out, request), "errands")
            if result is not None:
                await self._around.store.requests.finish(request.id, result, self._around.clock())
        return len(requests)

    async def _carried_out(self, request: Request) -> str | None:
        """Its result; None if it is for another process, or for a processor that is about to run: it waits."""
        errand = self._kinds.get(request.kind)
        if (errand is None or request.kind in _ANYBODYS) and not await self._is_mine():
            return None
        if errand is None:
            return f"not done: nobody knows how to {request.kind}"
        try:
            return await errand(request)
        except NotDone as why:
            return f"not done: {why}"
        except ClaimLost:
            return None

    async def _is_mine(self) -> bool:
        return await self._around.store.duties.mine("errands", self._around.clock())

    async def _forget(self, request: Request) -> str:
        """A delete like Segment's, with an operator's authority. Its messageId makes a repeat harmless."""
        args = request.args
        body: dict[str, Any] = {"type": "delete", "messageId": f"operator-{request.id}-{request.asked:.0f}"}
        body |= {name: args[name] for name in ("userId", "anonymousId") if args.get(name)}
        known = {
            headers.SOURCE: "operator",
            headers.SPACE: args.get("space", ""),
            headers.RECEIVED: f"{request.asked:.6f}",
            headers.PATH: "operator",
            headers.AUTHORITY: "operator",
            headers.SIGNED: "1",
        }
        key = str(args.get("userId") or args["anonymousId"])
        given = tuple((name, value.encode()) for name, value in known.items() if value)
        await self._around.log.append([Message(topics.RAW["delete"], key.encode(), msgspec.json.encode(body), given)])
        return str(body["messageId"])

    async def _retry_held(self, request: Request) -> str | None:
        if self._left_to_others(request):
            return None
        held = await self._around.store.held.get(request.args["id"])
        if held is None:
            return "left before"  # its lane got to it, or a deletion did
        member = self._worker.projectors.get(held.processor) or self._worker.runners.get(held.processor)
        if member is None:
            if held.processor in self._elsewhere:
                return None
            raise NotDone(f"{held.processor} does not run")
        if held.processor in self._worker.stopped:
            raise NotDone(f"{held.processor} has stopped: stream resume {held.processor}")
        return await member.retry(held)

    async def _drop_held(self, request: Request) -> str | None:
        if self._left_to_others(request):
            return None
        store, worker = self._around.store, self._worker
        held = await store.held.get(request.args["id"])
        if held is None:
            raise NotDone("it is not held any more")
        name = held.processor
        if not worker.runs(name) and name in self._elsewhere:
            return None
        runner = worker.runners.get(name)
        if runner is not None and name not in worker.stopped and runner.owns_something:
            await runner.drop(held)
            return "dropped"
        projector, marks = worker.projectors.get(name), await store.drop(held)
        if projector is not None:
            await projector.publish(marks)
        return "dropped"

    def _left_to_others(self, request: Request) -> bool:
        """Is it about a partition that another process may own? Whoever does answers: the others might find that it is
        done already, and not know how."""
        name, worker = request.args.get("processor", ""), self._worker
        if name not in self._elsewhere or name in worker.stopped:
            return False
        member = worker.projectors.get(name) or worker.runners.get(name)
        return member is None or not member.owns(Partition(request.args["topic"], request.args["part"]))

    async def _sync(self, request: Request) -> str | None:
        name, worker = request.args["processor"], self._worker
        if name in self._elsewhere and not worker.runs(name):
            return None
        return await sync(self._around, worker.runners, worker.stopped, request)

    async def _retry_invalid(self, request: Request) -> str:
        at, offset, taken = (
            Partition(topics.INVALID, request.args["part"]),
            request.args["offset"],
            request.args["time"],
        )
        delivery = await self._invalid(at, offset, taken)
        if delivery is None:
            raise NotDone(f"{at.topic}/{at.number} no longer holds {offset}")
        messages = envelope.again(delivery.message, self._limits)
        if any(message.topic == topics.INVALID for message in messages):
            reasons = {headers.read(m.headers).reason for m in messages if m.topic == topics.INVALID}
            raise NotDone(f"still invalid: {', '.join(sorted(reasons))}")
        await self._around.log.append(messages)
        await self._around.store.requests.note_retried(at.number, offset, self._around.clock())
        return f"appended {len(messages)}"

    async def _invalid(self, at: Partition, offset: int, taken: float) -> Delivery | None:
        async for delivery in self._around.log.read(at.topic, since=taken, until=taken + 0.001):
            if delivery.partition == at and delivery.offset == offset:
                return delivery
        return None

    async def _resume(self, request: Request) -> str:
        name = request.args["processor"]
        if not self._worker.runs(name) and name not in self._elsewhere:
            raise NotDone(f"{name} does not run here")
        return "resumed" if await self._worker.resume(name) else "it was not stopped"
