"""Gate: may this person be given this, for this purpose, now?

It is asked at the moment of sending, and reads the store then: an opt-out that is in the store before the gate's read
is honoured. Questions asked at the same time share one read; none is answered by a read that began before it was
asked. What only takes away (leaving a list, opting out, deleting) is not asked.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from stream.answering import AFTER_S, ASKED, Answering, Question
from stream.batch import Surroundings
from stream.config import Config
from stream.errors import NotYet, Skip, StoreError
from stream.store.database import Transaction

__all__ = ["ASKED", "Gate", "Question"]

_MOST = 1_000  # questions in one read: a longer one would keep other readers waiting


class Gate:
    """Answers questions, many with one read. Raises ConfigError for a purpose that cannot be asked for."""

    def __init__(self, around: Surroundings, config: Config) -> None:
        self._db = around.store.db
        self._answering = Answering(around.store, around.clock, config)
        self._waiting: list[_Asked] = []
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> None:
        """Returns if it may be given. Raises Skip(reason): this person may not be given this; NotYet: nobody may be
        given anything for now; ConfigError: there is no such purpose."""
        (reason,) = await self.refusals([question])
        if reason is not None:
            raise Skip(reason)

    async def refusals(self, questions: Sequence[Question]) -> list[str | None]:
        """Of each question why it is refused; None: it may be given. All of one read. Raises NotYet and ConfigError as
        ask() does.

        The reasons: `deleted`, `deleting` (the destination has still to delete them), `consent_held` (they said
        something that could not be understood yet), `no_consent`, `opted_out`, `conflict` (linked subjects say
        different things), `shared` (the address is that of too many to ask them all)."""
        self._answering.check(questions)
        asked = _Asked(questions)
        self._waiting.append(asked)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="gate")
        return await asked.answer

    async def _read(self) -> None:
        """Until nobody waits. A task of its own: whoever asked first may be cancelled, and the others still wait."""
        while self._waiting:
            together = self._next()
            try:
                answers = await self._db.reading(partial(self._answer, together))
            except StoreError:
                _fail(together, NotYet("gate:unreadable", after=AFTER_S))
            except Exception as error:  # everybody who asked meets it
                _fail(together, error)
            except BaseException:
                for asked in together + self._waiting:
                    asked.answer.cancel()
                raise
            else:
                _succeed(together, answers)

    def _next(self) -> "list[_Asked]":
        together: list[_Asked] = []
        amount = 0
        while self._waiting and (not together or amount + len(self._waiting[0].questions) <= _MOST):
            together.append(self._waiting.pop(0))
            amount += len(together[-1].questions)
        return together

    async def _answer(self, together: "Sequence[_Asked]", tx: Transaction) -> list[str | None]:
        return await self._answering.refusals(tx, [question for asked in together for question in asked.questions])


class _Asked:
    """Questions of one caller, and the answers to come."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.answer: asyncio.Future[list[str | None]] = asyncio.get_running_loop().create_future()


def _succeed(together: Sequence[_Asked], answers: Sequence[str | None]) -> None:
    first = 0
    for asked in together:
        end = first + len(asked.questions)
        if not asked.answer.done():  # it was cancelled
            asked.answer.set_result(list(answers[first:end]))
        first = end


def _fail(together: Sequence[_Asked], error: Exception) -> None:
    for asked in together:
        if not asked.answer.done():
            asked.answer.set_exception(error)
