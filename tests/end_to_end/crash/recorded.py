"""Recorded: the destination of tests/destination.py, in the process that is cut; what it was asked, and did, stays."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from tests.destination import Destination
from tests.mailing_list import MailingList, Seen

NAME = "asked"


class Did(Struct, frozen=True):
    """One request that took effect. `steps`: those of the client that were done then."""

    seen: Seen
    steps: list[str]

    @property
    def gives(self) -> bool:
        """Or does it take away?"""
        match [self.seen.method, *self.seen.parts]:
            case ["DELETE", *_]:
                return False
            case ["PUT", "people", _, "consents", _]:
                return bool(self.seen.json["value"])
        return True

    @property
    def who(self) -> str:
        """The person's name; of an address, what stands before the @."""
        return self.seen.about[0].partition("@")[0]

    @property
    def sent(self) -> tuple[str, str] | None:
        """Which reactor sent it, and of what message; None: it is no event."""
        if self.seen.parts != ["events"]:
            return None
        (processor,) = parse_qs(urlsplit(self.seen.path).query)["of"]
        return processor, self.seen.json["messageId"]


class Record:
    """What the destinations of one folder did, in order, across all processes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME

    def all(self) -> list[Did]:
        if not self._file.exists():
            return []
        return [msgspec.json.decode(line, type=Did) for line in self._file.read_bytes().splitlines()]

    def add(self, did: Did) -> None:
        with self._file.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(did) + b"\n")

    def events(self) -> Counter[tuple[str, str]]:
        """How often each reactor's event came."""
        return Counter(did.sent for did in self.all() if did.sent is not None)

    def state(self) -> MailingList:
        """What all that comes to."""
        state = MailingList()
        for did in self.all():
            state.do(did.seen)
        return state


class Recorded(Destination):
    """Goes on with what its record says. `steps`: those of the client that are done."""

    record: Record
    steps: Callable[[], Sequence[str]]

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, folder: Path, steps: Callable[[], Sequence[str]]) -> AsyncIterator["Recorded"]:
        """The one of this folder."""
        async with cls.open() as destination:
            assert isinstance(destination, cls)
            destination.record, destination.steps = Record(folder), steps
            for did in destination.record.all():
                MailingList.do(destination, did.seen)
            yield destination

    def do(self, seen: Seen) -> int:
        if seen.method == "GET":
            return 200
        self.record.add(Did(seen, list(self.steps())))  # first: it may be the last that this process does
        return super().do(seen)
