"""The detour through a spill file: when it begins, who goes through it, and how everybody gets back."""

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from stream.errors import LogError
from stream.log.spill_drain import Append, Drain
from stream.log.spill_file import SpillFile
from stream.message import Message

logger = structlog.get_logger()

Waiting = tuple[Sequence[Message], Future[None]]


class Detour:
    """Of one process. No message overtakes one that was taken before.

    There is always something being written while messages come in, so a look alone would never find the file empty.
    Hence, once little is left, whoever comes waits until that is moved: for as long as one append takes."""

    def __init__(self, file: SpillFile, drain: Drain, clock: Callable[[], float]) -> None:
        self.since: float | None = None
        """When it began; None: messages go directly."""
        self.begun = asyncio.Event()
        self._file = file
        self._drain = drain
        self._clock = clock
        self._waiting: list[Waiting] | None = None

    def begin(self, reason: str) -> None:
        """From now on everything goes through the file."""
        if self.since is None:
            self.since = self._clock()
            self._drain.well = False
            self.begun.set()
            logger.warning("spill_began", file=str(self._file.path), receiver=self._file.name, reason=reason)

    @property
    def closed(self) -> bool:
        """Is the last of the file being moved? Then who comes has to wait()."""
        return self._waiting is not None

    async def wait(self, messages: Sequence[Message]) -> None:
        """Returns once they are durable, wherever. Raises LogError."""
        assert self._waiting is not None
        done: Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, done))
        await done

    async def end(self, append: Append) -> None:
        """Returns once messages go directly. `append`: takes those of whoever waited meanwhile."""
        while self.since is not None:
            await self._drain.most(self._file)
            waiting: list[Waiting] = []
            self._waiting = waiting
            try:
                with suppress(LogError):  # then it is most() that waits
                    await self._drain.rest(self._file)
                    self._ended(self.since)
                self._waiting = None
                if waiting:  # no await in between: whoever comes now comes after them
                    await _all(append, waiting)
            finally:
                self._waiting = None
                for _, done in waiting:
                    done.cancel()
        await self._file.shrink()

    def _ended(self, since: float) -> None:
        self.since = None
        logger.warning("spill_ended", receiver=self._file.name, seconds=round(self._clock() - since, 1))


async def _all(append: Append, waiting: Sequence[Waiting]) -> None:
    try:
        await append([message for messages, _ in waiting for message in messages])
    except LogError as error:
        for _, done in waiting:
            if not done.done():
                done.set_exception(type(error)(*error.args))  # one of its own: each is raised elsewhere
    else:
        for _, done in waiting:
            if not done.done():
                done.set_result(None)
