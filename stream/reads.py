"""Reads: what many ask of the store at the same time, of whatever kind, is one transaction.

Each visit to the store waits for its turn there, and for a busy loop to hear of it: they share it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from msgspec import Struct

from stream.errors import StoreError, StreamError
from stream.store import Store
from stream.store.database import Transaction
from stream.together import Raised, Together

Q = TypeVar("Q")
A = TypeVar("A")

Answer = Callable[[Transaction, Sequence[Q]], Awaitable[Sequence[A]]]
"""From the questions of one kind to the answers, in that order. What it raises is raised to those who asked that kind;
StoreError, and what is no StreamError, to all who share the read."""

_MOST = 1_000  # questions in one read: a longer one would keep other readers waiting


class Reads:
    """The questions of one process."""

    def __init__(self, store: Store) -> None:
        self._db = store.db
        self._together: Together[_Asked, Any] = Together(self._read, _MOST, lambda one: one.weight)

    def kind(self, answer: Answer[Q, A], weight: Callable[[Q], int] = lambda one: 1) -> "Kind[Q, A]":
        """A kind of question. Nothing is answered by a read that began before it was asked."""
        return Kind(self._together, answer, weight)

    async def _read(self, asked: "Sequence[_Asked]") -> Sequence[Any]:
        kinds: dict[Any, list[int]] = {}
        for number, one in enumerate(asked):
            kinds.setdefault(one.answer, []).append(number)
        return await self._db.reading(partial(_answered, asked=asked, kinds=kinds))


class Kind(Generic[Q, A]):
    """One kind of question."""

    def __init__(self, together: "Together[_Asked, Any]", answer: Answer[Q, A], weight: Callable[[Q], int]) -> None:
        self._together = together
        self._answer = answer
        self._weight = weight

    async def ask(self, question: Q) -> A:
        """The answer. Raises what answering it raised, or StoreError."""
        return await self.put(question)

    def put(self, question: Q) -> "asyncio.Future[A]":
        """The same, for who does something else meanwhile."""
        return self._together.put(_Asked(self._answer, question, self._weight(question)))


class _Asked(Struct, frozen=True, eq=False):
    answer: Any
    question: Any
    weight: int


async def _answered(tx: Transaction, asked: Sequence[_Asked], kinds: dict[Any, list[int]]) -> Sequence[Any]:
    found: list[Any] = [None] * len(asked)
    for answer, numbers in kinds.items():
        try:
            answers = await answer(tx, [asked[number].question for number in numbers])
        except StoreError:  # the transaction's own end
            raise
        except StreamError as error:
            answers = [Raised(error)] * len(numbers)
        for number, one in zip(numbers, answers, strict=True):
            found[number] = one
    return found
