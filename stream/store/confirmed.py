"""Confirmed: what each destination was last told about an address and a thing, and who may tell it now.

A *lease* is the right to send what some rows are about, for a time. Taking it sets the rows *unknown*: from then on
nobody can tell what the destination holds, until the sender, still under its lease, says what it sent. One that lost
its lease changes nothing by confirming; by doubting it takes the lease from whoever has it, since both may have sent.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from stream.errors import NotYet
from stream.store.database import Database, Transaction

Key = tuple[str, str, str]
"""Destination, address, thing."""

_NEVER: Mapping[Key, float] = {}
_POLL_S = 1.0  # a lease usually ends long before its time


class Told(Struct, frozen=True, kw_only=True):
    """What a destination was last told about one thing of one address, on behalf of `subject`, by a processor.

    `value` is JSON; None: nobody knows. `told`: when a value was last confirmed; None: never. Whoever holds `lease`
    sends, until then; without a lease, something that was sent, and not answered, may still be carried out until
    then."""

    destination: str
    address: str
    thing: str
    verb: str
    processor: str
    subject: str
    value: str | None = None
    told: float | None = None
    lease: str | None = None
    until: float | None = None

    @property
    def key(self) -> Key:
        return (self.destination, self.address, self.thing)

    @property
    def late(self) -> float | None:
        """Until when something that was sent before, by whomever, may still be carried out."""
        return self.until if self.lease is None else None


class Confirmed:
    """What all destinations were told, read and written in transactions of others."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def lock(self, tx: Transaction) -> None:
        """No other transaction takes or ends a lease from here on until this one ends."""
        if self._db.locking:
            await tx.all(f"SELECT value FROM counters WHERE name = 'leases'{self._db.locking}")

    async def about(
        self, tx: Transaction, destination: str, subjects: Collection[str], addresses: Collection[str]
    ) -> list[Told]:
        """What a destination was told on behalf of these subjects, and about these addresses; in order of the keys."""
        found = await self._select(tx, [destination], "subject", subjects)
        found += await self._select(tx, [destination], "address", addresses)
        return _ordered(found)

    async def anywhere(
        self, tx: Transaction, subjects: Collection[str], addresses: Collection[str], destinations: Collection[str]
    ) -> list[Told]:
        """What any destination was told on behalf of these subjects, and these destinations about these addresses; in
        order of the keys."""
        found = await self._select(tx, None, "subject", subjects)
        found += await self._select(tx, destinations, "address", addresses)
        return _ordered(found)

    async def take(self, tx: Transaction, rows: Sequence[Told], lease: str, now: float, until: float) -> set[Key]:
        """Takes the lease on all of these rows and sets them unknown; rows that are not there yet are made. Those that
        were under an expired lease: what was sent under it may still arrive, so they are to be confirmed as unknown and
        looked at again a lease later. Raises NotYet("leased") where one of them is under another's, and then nothing is
        changed."""
        await self.lock(tx)
        theirs = [told for told in await self._there(tx, {row.key for row in rows}) if told.lease not in (None, lease)]
        if any(told.until is not None and told.until > now for told in theirs):
            ends = max(told.until or 0.0 for told in theirs)
            raise NotYet("leased", after=min(ends - now, _POLL_S))
        await self._unknown(tx, rows, lease, until)
        return {told.key for told in theirs}

    async def extend(self, tx: Transaction, lease: str, keys: Collection[Key], until: float) -> bool:
        """Prolongs the lease on these rows. False, and nothing is changed: one of them is not under it any more."""
        await self.lock(tx)
        if await self._lost(tx, lease, keys):
            return False
        await tx.many(f"UPDATE confirmed SET until = ? WHERE {_KEY} AND lease = ?", [(until, *k, lease) for k in keys])
        return True

    async def confirm(
        self,
        tx: Transaction,
        lease: str,
        values: Mapping[Key, str | None],
        now: float,
        late: Mapping[Key, float] = _NEVER,
    ) -> set[Key]:
        """Writes what was sent under the lease (JSON; None: unknown), and ends it. Those that are not under it any
        more: of these nothing is changed, and they are to be doubted. `late`: until when something that was sent may
        still be carried out."""
        await self.lock(tx)
        lost = await self._lost(tx, lease, values)
        await tx.many(
            "UPDATE confirmed SET value = ?, told = coalesce(?, told), lease = NULL, until = ?"
            f" WHERE {_KEY} AND lease = ?",
            [
                (value, None if value is None else now, late.get(key), *key, lease)
                for key, value in sorted(values.items())
                if key not in lost
            ],
        )
        return lost

    async def put_back(self, tx: Transaction, lease: str, before: Mapping[Key, Told | None]) -> set[Key]:
        """Ends the lease on rows of which nothing was sent: what was known before it still holds (None: the row was not
        there). Those that are not under it any more, as confirm() says them."""
        await self.lock(tx)
        lost = await self._lost(tx, lease, before)
        ours = {key: was for key, was in before.items() if key not in lost}
        await tx.many(
            "UPDATE confirmed SET verb = ?, processor = ?, subject = ?, value = ?, told = ?, lease = NULL, until = ?"
            f" WHERE {_KEY} AND lease = ?",
            [
                (was.verb, was.processor, was.subject, was.value, was.told, was.late, *key, lease)
                for key, was in ours.items()
                if was is not None
            ],
        )
        absent = [(*key, lease) for key, was in ours.items() if was is None]
        await tx.many(f"DELETE FROM confirmed WHERE {_KEY} AND lease = ?", absent)
        return lost

    async def doubt(self, tx: Transaction, rows: Sequence[Told], late: float | None = None) -> None:
        """Sets these rows unknown, under nobody's lease: whoever holds one will find it lost. A row that is gone (its
        address was deleted there) is made again: the destination may hold it. `late`: as in confirm()."""
        await self._unknown(tx, rows, None, late)

    async def forget(self, tx: Transaction, keys: Collection[Key]) -> None:
        """Nobody needs to know any more what was told there."""
        await tx.many(f"DELETE FROM confirmed WHERE {_KEY}", list(keys))

    async def deleted(self, tx: Transaction, destination: str, addresses: Collection[str]) -> set[str]:
        """The destination holds nothing of these addresses any more. The subjects on whose behalf it was told."""
        await tx.alone()
        where = f"destination = ? AND {self._db.among('address')}"
        listed = self._db.listed(addresses)
        found = await tx.all(f"SELECT DISTINCT subject FROM confirmed WHERE {where}", destination, listed)
        if found:
            await tx.run(f"DELETE FROM confirmed WHERE {where}", destination, listed)
        return {subject for (subject,) in found}

    async def _lost(self, tx: Transaction, lease: str, keys: Collection[Key]) -> set[Key]:
        return set(keys) - {told.key for told in await self._there(tx, keys) if told.lease == lease}

    async def _there(self, tx: Transaction, keys: Collection[Key]) -> list[Told]:
        wanted = set(keys)
        found = await self._select(tx, {d for d, _, _ in wanted}, "address", {a for _, a, _ in wanted})
        return [told for told in found if told.key in wanted]

    async def _select(
        self, tx: Transaction, destinations: Collection[str] | None, column: str, values: Collection[str]
    ) -> list[Told]:
        if not values:
            return []
        where, params = self._db.among(column), [self._db.listed(values)]
        if destinations is not None:
            # An expression in place of the column: the primary key's first column alone is no way to a subject.
            at = "destination" if column == "address" else "(destination || '')"
            where, params = f"{where} AND {self._db.among(at)}", [*params, self._db.listed(destinations)]
        found = await tx.all(f"SELECT {', '.join(Told.__struct_fields__)} FROM confirmed WHERE {where}", *params)
        return [Told(**dict(zip(Told.__struct_fields__, row, strict=True))) for row in found]

    async def _unknown(self, tx: Transaction, rows: Sequence[Told], lease: str | None, until: float | None) -> None:
        await tx.many(
            "INSERT INTO confirmed (destination, address, thing, verb, processor, subject, lease, until)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (destination, address, thing) DO UPDATE SET"
            " verb = excluded.verb, processor = excluded.processor, subject = excluded.subject, value = NULL,"
            " lease = excluded.lease, until = excluded.until",
            [(*row.key, row.verb, row.processor, row.subject, lease, until) for row in rows],
        )


_KEY = "destination = ? AND address = ? AND thing = ?"


def _ordered(found: Sequence[Told]) -> list[Told]:
    return [told for _, told in sorted({told.key: told for told in found}.items())]
