"""Planted faults: what a careless engine would do. Put in place in a forked child, for that child alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stream.message import Partition
from stream.publisher import Publisher
from stream.snapshot import read
from stream.store import Store, Work
from stream.store.database import Transaction
from stream.store.marks import Mark
from stream.store.positions import Positions


def position_before_rows() -> None:
    """The positions are written first, in a transaction of their own."""
    whole = Store.commit

    async def commit(self: Store, work: Work) -> list[Mark]:

        async def write(tx):
            await self.positions.check(tx, work.processor, work.claims)
            await self.positions.advance(tx, work.processor, work.positions, work.fates)

        await self.db.writing(write)
        return await whole(self, msgspec.structs.replace(work, positions={}, fates={}))

    Store.commit = commit  # type: ignore[method-assign]


def marks_cleared_before_append() -> None:
    """What was marked counts as published before it is."""
    whole = Publisher._once

    async def once(self: Publisher, marks: Sequence[Mark], recovering: bool) -> Sequence[Mark]:
        before = await read(self._around.store, {mark.subject for mark in marks}, self._tables)
        _, values, nulled = await self._messages(marks, before, recovering)
        await self._around.store.db.writing(
            lambda tx: self._around.store.marks.clear(tx, self._processor, marks, values, nulled)
        )
        return await whole(self, marks, recovering)

    Publisher._once = once  # type: ignore[method-assign]


def claim_unchecked() -> None:
    """Whoever has read a batch may write it, whoever owns it by now; an old member hears of nothing."""

    async def check(self: Positions, tx: Transaction, processor: str, claims: Mapping[Partition, int]) -> None:
        return None

    Positions.check = check  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], Any]] = {
    fault.__name__: fault for fault in (position_before_rows, marks_cleared_before_append, claim_unchecked)
}
