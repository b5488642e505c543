"""Together: what many ask for at the same time is one call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")
R = TypeVar("R")


class Raised(Struct, frozen=True):
    """An answer that is not one: this is raised to who asked."""

    error: Exception


def tell(answer: "asyncio.Future[Any]", found: Any) -> None:
    """Gives an answer, Raised or not, to who asked, unless that one is gone."""
    if answer.done():
        return
    if isinstance(found, Raised):
        answer.set_exception(found.error)
        answer.exception()  # seen, whether somebody still waits for it or not
    else:
        answer.set_result(found)


class Together(Generic[T, R]):
    """While one call is under way, those who ask wait, and the next one is made for all of them. `call`: from what was
    asked to the answers, in that order, some of them Raised; what it raises is raised to each of them. One call is for
    one at least, and for at most `most`, of which each counts as its `weight`."""

    def __init__(
        self,
        call: Callable[[Sequence[T]], Awaitable[Sequence[R | Raised]]],
        most: int = 1_000,
        weight: Callable[[T], int] = lambda one: 1,
    ) -> None:
        self._call = call
        self._most = most
        self._weight = weight
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, one: T) -> R:
        """The answer of a call that begins after this one. Whoever is cancelled here does not undo it."""
        return await self.put(one)

    def put(self, one: T) -> "asyncio.Future[R]":
        """The same, for who does something else meanwhile. What is raised need not be waited for."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((one, answer))
        if self._running is None:
            # A task of its own: whoever asked first may be cancelled, and the others still wait.
            self._running = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                some = self._next()
                await self._answer([one for one, _ in some], [answer for _, answer in some])
        finally:
            self._running = None
            for _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()

    def _next(self) -> "list[tuple[T, asyncio.Future[R]]]":
        weights = accumulate(self._weight(one) for one, _ in self._waiting)
        amount = max(1, sum(1 for _ in takewhile(lambda weight: weight <= self._most, weights)))
        some, self._waiting = self._waiting[:amount], self._waiting[amount:]
        return some

    async def _answer(self, asked: Sequence[T], answers: "Sequence[asyncio.Future[R]]") -> None:
        try:
            found = await self._call(asked)
        except asyncio.CancelledError:
            for answer in answers:
                answer.cancel()
            raise
        except Exception as error:  # everybody who asked meets it
            found = [Raised(error)] * len(answers)
        for answer, one in zip(answers, found, strict=True):
            tell(answer, one)
