"""Gathering: changes of many lanes in one request, where a connector can carry many.

While a request of one kind (a verb, a thing, a value) is on its way, further changes of that kind gather, and the next
request carries them. If none is, a change goes at once: nobody waits for company. What a destination refuses as a whole
is halved until only the bad one is left. A request is made by one of the lanes whose changes it carries.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct, field

from stream.connector import Change, Connector, Flow, Request
from stream.errors import NotYet, Retry, StreamError
from stream.gate import Question
from stream.http import Performer
from stream.lease import Lease
from stream.looking import Asked

_Kind = tuple[str, str, str]


class Piece(Struct, eq=False):
    """One change on its way. `question`: to the gate, right before the bytes go out; None for what takes away. In the
    end it is `done`, or `barred` (not allowed any more: nothing was sent), or there is an `error`. `sent`: bytes may
    have gone out."""

    verb: str
    text: str
    change: Change
    lease: Lease
    question: Question | None = None
    slow: bool = False
    sent: bool = False
    done: bool = False
    barred: bool = False
    error: Exception | None = None


class Gathering:
    """Sends the changes of all lanes of one sync."""

    def __init__(self, connector: Connector, performer: Performer, gate: Asked) -> None:
        self._connector = connector
        self._performer = performer
        self._gate = gate
        self._queues: dict[_Kind, _Queue] = {}

    async def send(self, piece: Piece) -> None:
        """Returns once the destination has taken it, or it is known why not: see the piece."""
        most = self._connector.bulk.get(piece.verb, 1)
        if most <= 1:
            await self._carry([piece])
            return
        kind = (piece.verb, piece.change.thing, piece.text)
        queue = self._queues.setdefault(kind, _Queue())
        if await queue.leads(piece, most):
            await self._lead(queue, piece, most)
        if not queue.flying:  # then nobody waits either
            self._queues.pop(kind, None)

    async def _lead(self, queue: "_Queue", piece: Piece, most: int) -> None:
        pieces = [piece]
        try:
            await asyncio.sleep(0)  # those who came in the same moment
            pieces += queue.take(most - 1)
            await self._carry(pieces)
        finally:
            queue.landed(pieces[1:])

    async def _carry(self, pieces: Sequence[Piece]) -> None:
        """Sends these with one request, or in halves if it is refused. Sets what came of each."""
        left = list(pieces)
        while left:
            try:
                await self._once(left)
                for piece in left:
                    piece.done = piece.sent = True
                return
            except _Without:
                left = [piece for piece in left if not piece.barred and piece.error is None]
            except Retry as error:
                _end(left, error)
                return
            except Exception as error:  # Dead, or a connector's bug: perhaps because of one of them
                if len(left) == 1:
                    _end(left, error)
                    return
                await self._carry(left[: len(left) // 2])
                left = left[len(left) // 2 :]

    async def _once(self, pieces: Sequence[Piece]) -> None:
        flow: Flow[object] = getattr(self._connector, pieces[0].verb)([piece.change for piece in pieces])

        async def allow(_: Request) -> None:
            await self._allow(pieces)

        gives = pieces[0].question is not None
        await self._performer.perform(flow, allow, gives, all(piece.slow for piece in pieces))

    async def _allow(self, pieces: Sequence[Piece]) -> None:
        """Right before the bytes go out: is it ours to send, for as long as it may take, and still allowed?"""
        lasts = False
        while not lasts:
            held = await asyncio.gather(*(piece.lease.hold() for piece in pieces))  # one commit for all of them
            for piece, ours in zip(pieces, held, strict=True):
                piece.error = None if ours else NotYet("lease_lost", after=0.0)
            await self._ask([(piece, piece.question) for piece in pieces if piece.question is not None])
            if any(piece.barred or piece.error for piece in pieces):
                raise _Without("some of these must not be sent")
            lasts = all(piece.lease.lasts for piece in pieces)
        for piece in pieces:
            piece.sent = True

    async def _ask(self, asked: Sequence[tuple[Piece, Question]]) -> None:
        if asked:
            reasons = await self._gate.refusals([question for _, question in asked])
            for (piece, _), reason in zip(asked, reasons, strict=True):
                piece.barred = reason is not None


class _Without(StreamError):
    """Some must not go out; the others may."""


def _end(pieces: Sequence[Piece], error: Exception) -> None:
    for piece in pieces:
        piece.error = error


class _Waiting(Struct, eq=False):
    piece: Piece
    told: "asyncio.Future[bool]"  # True: lead the next request; False: another one's request carried it


class _Queue(Struct, eq=False):
    """The changes of one kind: those that wait, and how many requests are on their way."""

    flying: int = 0
    waiting: list[_Waiting] = field(default_factory=list)
    carried: dict[int, _Waiting] = field(default_factory=dict)

    async def leads(self, piece: Piece, most: int) -> bool:
        """True: this one is to make a request, now. False: another one has carried it."""
        if not self.flying or len(self.waiting) >= most - 1:  # nobody to wait for, or there is company enough
            self.flying += 1
            return True
        one = _Waiting(piece, asyncio.get_running_loop().create_future())
        self.waiting.append(one)
        try:
            return await one.told
        except asyncio.CancelledError:
            if one in self.waiting:
                self.waiting.remove(one)
            elif one.told.done() and not one.told.cancelled() and one.told.result():
                self.landed(())  # it was to lead: another one does
            raise

    def take(self, amount: int) -> list[Piece]:
        """Those that a request can carry besides its leader's."""
        some, self.waiting = self.waiting[:amount], self.waiting[amount:]
        self.carried.update({id(one.piece): one for one in some})
        return [one.piece for one in some]

    def landed(self, pieces: Sequence[Piece]) -> None:
        """A request is over, or cut off; the next one that waits leads."""
        for piece in pieces:
            one = self.carried.pop(id(piece))
            if not (piece.done or piece.barred or piece.error):  # its leader was cancelled
                piece.error = NotYet("cut_off", after=0.0)
            if not one.told.done():
                one.told.set_result(False)
        self.flying -= 1
        while self.waiting and not self.flying:
            one = self.waiting.pop(0)
            if not one.told.done():
                self.flying += 1
                one.told.set_result(True)
