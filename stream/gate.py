"""Gate: may this person be given this, for this purpose, now?

It is asked at the moment of sending, and reads the store then: an opt-out that is in the store before the gate's read
is honoured. Questions asked at the same time share one read; none is answered by a read that began before it was
asked. What only takes away (leaving a list, opting out, deleting) is not asked.
"""

from collections.abc import Mapping, Sequence

from stream.answering import AFTER_S, Answering, Question
from stream.batch import Surroundings
from stream.config import Config
from stream.errors import NotYet, Skip, StoreError
from stream.person import Person
from stream.reads import Reads
from stream.store.database import Transaction

__all__ = ["Gate", "Question"]


class Gate:
    """Answers questions, many with one read. Raises ConfigError for a purpose that cannot be asked for."""

    def __init__(self, around: Surroundings, config: Config, reads: Reads | None = None) -> None:
        """`reads`: what else is asked of the store meanwhile, and read with it."""
        self._answering = Answering(around.store, around.clock, config)
        self._reads = (reads or Reads(around.store)).kind(self._answers, len)

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
        try:
            return await self._reads.ask(questions)
        except StoreError:
            raise NotYet("gate:unreadable", after=AFTER_S) from None

    async def of_alone(self, questions: Sequence[Question], people: Mapping[str, Person]) -> list[str | None]:
        """The same of people who are alone (store/alone.py), as they were read: by key. Good for seeing whether all is
        as it should be; before something is sent, the gate is asked."""
        self._answering.check(questions)
        return [self._answering.of_alone(one, people[one.subject]) for one in questions]

    async def _answers(self, tx: Transaction, asked: Sequence[Sequence[Question]]) -> list[list[str | None]]:
        questions = [question for one in asked for question in one]
        reasons = iter(await self._answering.refusals(tx, questions))
        return [[next(reasons) for _ in one] for one in asked]
