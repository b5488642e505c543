"""The folder of the spill: a file for each receiver process, and those that dead ones left behind."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import structlog
from msgspec import Struct

from stream.errors import LogError, LogInUse, LogUnavailable
from stream.log.spill_file import SpillFile

logger = structlog.get_logger()

_MOST = 10_000  # receivers on one folder


class Terms(Struct, frozen=True):
    """Where, and how much at most in each file, in bytes. `keep_days`: for so long a refused message is kept; `look_s`:
    between two looks for what others left; `longest_wait_s`: between two tries while the log is away."""

    folder: str
    max_bytes: int
    keep_days: float
    look_s: float = 10.0
    longest_wait_s: float = 2.0


class SpillFolder:
    """Each process has the first file that nobody has, so a receiver that starts again finds what it left. Whoever
    looks takes what others left."""

    def __init__(self, terms: Terms, clock: Callable[[], float]) -> None:
        self.terms, self.clock = terms, clock
        self.path = Path(terms.folder)
        self._own = Path()
        self._unreadable: set[Path] = set()

    @asynccontextmanager
    async def own(self) -> AsyncIterator[SpillFile]:
        """This process's file. Raises LogUnavailable where the folder cannot be written."""
        async with AsyncExitStack() as stack:
            for number in range(_MOST):
                path = self.path / f"receiver-{number}.db"
                if (file := await self._opened(stack, path)) is not None:
                    self._own = path
                    yield file
                    return
        raise LogUnavailable(f"{self.path} has {_MOST} files, and all are in use")

    @asynccontextmanager
    async def left(self) -> AsyncIterator[list[SpillFile]]:
        """The files of processes that ended, this one's while the context is open."""
        async with AsyncExitStack() as stack:
            found: list[SpillFile] = []
            for path in sorted(self.path.glob("receiver-*.db")):
                with suppress(LogUnavailable):  # a full disk: another look will do
                    if path != self._own and (file := await self._opened(stack, path)) is not None:
                        found.append(file)
            yield found

    async def _opened(self, stack: AsyncExitStack, path: Path) -> SpillFile | None:
        """None: another process has it, or it is broken."""
        try:
            return await stack.enter_async_context(SpillFile.open(path, self.clock, self.terms.max_bytes))
        except LogInUse:
            return None
        except LogUnavailable:
            raise
        except LogError as error:
            # Somebody must look at it, but nobody needs to be turned away meanwhile.
            if path not in self._unreadable:
                self._unreadable.add(path)
                logger.error("spill_unreadable", file=str(path), reason=str(error))
            return None
