"""Linking: new pairs of subjects, and what follows where one of them is deleted.

A tombstone spreads: from a user to every subject that was ever seen as that user, and across aliases both ways; never
from an anonymous subject to a user, since a shared device must not delete whoever else used it. It spreads over erased
pairs too (ties, by hash). So the tombstones are the same whatever comes first, the link or the deletion.
"""

from collections.abc import Collection, Iterable, Mapping

from stream.core import identity
from stream.store.database import Database, Transaction
from stream.store.people import Pairs, People, Times

Links = Mapping[tuple[str, str], Times]


class Linking:
    """Writes pairs and tombstones, in transactions of others."""

    def __init__(self, db: Database, people: People, max_links: int) -> None:
        self._db = db
        self._people = people
        self._max_links = max_links

    async def add(self, tx: Transaction, links: Links) -> set[str]:
        """Adds pairs. The subjects of people that may have changed thereby, deleted ones included."""
        if not links:
            return set()
        known = await self._people.pairs(tx, {subject for subject, _ in links})
        changed = {pair: merged for pair, new in links.items() if (merged := _merged(new, known, pair)) is not None}
        fresh = [pair for pair in changed if _is_news(changed[pair], known, pair)]
        graves: dict[str, float] = {}
        marked: set[str] = set()
        if await self._people.serial(tx):
            changed = await self._with_ties(tx, changed)
            for subject, other in fresh:
                marked |= await self._spread(tx, subject, other)
            graves = await self._people.tombstones(tx, {subject for pair in changed for subject in pair})
        users = {other for _, other in fresh}
        before = await self._people.fans(tx, users)
        await self.keep(tx, changed, graves)
        for subject, other in fresh:
            marked |= {subject, other, *known[subject]}
        return marked | self._lost(before, await self._people.fans(tx, users))

    def _lost(self, before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> set[str]:
        """Whoever belonged to a user that has just become shared, and now stands alone."""
        crowded = [user for user in after if len(before[user]) <= self._max_links < len(after[user])]
        return {subject for user in crowded for subject in after[user]}

    async def keep(self, tx: Transaction, pairs: Links, graves: Mapping[str, float]) -> None:
        """Writes pairs: the living ones named, the dead ones as ties."""
        dead = {p: t for p, t in pairs.items() if t[1] <= max(graves.get(s, float("-inf")) for s in p)}
        await tx.many(
            "INSERT INTO links (subject, other, first, last) VALUES (?, ?, ?, ?) ON CONFLICT (subject, other)"
            " DO UPDATE SET first = excluded.first, last = excluded.last",
            [(*pair, *times) for pair, times in sorted(pairs.items()) if pair not in dead],
        )
        await tx.many("DELETE FROM links WHERE subject = ? AND other = ?", list(dead))
        await tx.many(
            "INSERT INTO ties (hash, other, first, last) VALUES (?, ?, ?, ?) ON CONFLICT (hash, other)"
            " DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
            [(*map(self._people.hash, pair), *times) for pair, times in sorted(dead.items())],
        )
        await self._cap(tx, {subject for subject, _ in pairs})

    async def bury(
        self, tx: Transaction, start: Mapping[str, str | None], time: float, ids: Collection[str]
    ) -> set[str]:
        """Sets or raises tombstones (hash → subject, where it is known) and all they spread to, and puts them on the
        deletions with those ids. The named subjects that were reached, and those that they were seen as: all whose
        people may have changed."""
        reached: dict[str, str | None] = {}
        frontier = dict(start)
        while frontier:
            reached.update(frontier)
            await self._raise(tx, frontier, time)
            await tx.many(
                "INSERT INTO deletion_subjects (id, hash, subject) VALUES (?, ?, ?) ON CONFLICT (id, hash)"
                " DO UPDATE SET subject = coalesce(excluded.subject, deletion_subjects.subject)",
                [(number, h, subject) for number in ids for h, subject in frontier.items()],
            )
            found = await self._neighbours(tx, frontier)
            frontier = {h: subject for h, subject in found.items() if h not in reached}
        named = {subject for subject in reached.values() if subject}
        pairs = await self._people.pairs(tx, named)
        return named.union(*pairs.values())

    async def _raise(self, tx: Transaction, graves: Mapping[str, str | None], time: float) -> None:
        have = await self._people.buried(tx, graves)
        lower = sorted(h for h in graves if have.get(h, float("-inf")) < time)
        serial = await self._people.serial(tx)
        await tx.many(
            "INSERT INTO tombstones (hash, time, serial) VALUES (?, ?, ?) ON CONFLICT (hash)"
            " DO UPDATE SET time = excluded.time, serial = excluded.serial",
            [(h, time, serial + n) for n, h in enumerate(lower, 1)],
        )

    async def _neighbours(self, tx: Transaction, graves: Mapping[str, str | None]) -> dict[str, str | None]:
        users = [h for h in graves if h.startswith("u")]
        named = [subject for h in users if (subject := graves[h])]
        found: dict[str, str | None] = {}
        for here, there in (("other", "subject"), ("subject", "other")):
            rows = await tx.all(f"SELECT {there} FROM links WHERE {self._db.among(here)}", self._db.listed(named))
            found |= {self._people.hash(subject): subject for (subject,) in rows}
        for here, there in (("other", "hash"), ("hash", "other")):
            rows = await tx.all(
                f"SELECT ties.{there}, tombstones.subject FROM ties"
                f" LEFT JOIN tombstones ON tombstones.hash = ties.{there} WHERE {self._db.among('ties.' + here)}",
                self._db.listed(users),
            )
            found = {h: subject for h, subject in rows} | found
        return found

    async def _spread(self, tx: Transaction, subject: str, other: str) -> set[str]:
        marked = await self._spread_from(tx, other, subject)
        if identity.kind(subject) == "user":
            marked |= await self._spread_from(tx, subject, other)
        return marked

    async def _spread_from(self, tx: Transaction, source: str, target: str) -> set[str]:
        times = await self._people.tombstones(tx, (source, target))
        if source not in times or times[source] <= times.get(target, float("-inf")):
            return set()
        found = await tx.all(
            "SELECT deletions.id FROM deletions JOIN deletion_subjects ON deletion_subjects.id = deletions.id"
            " WHERE deletion_subjects.hash = ? AND deletions.time = ?",
            self._people.hash(source),
            times[source],
        )
        ids = [number for (number,) in found]
        await tx.many("UPDATE deletions SET state = 'open', ends = NULL, finished = NULL WHERE id = ?", _ones(ids))
        return await self.bury(tx, {self._people.hash(target): target}, times[source], ids)

    async def _with_ties(self, tx: Transaction, pairs: Links) -> dict[tuple[str, str], Times]:
        merged = dict(pairs)
        for pair, (first, last) in pairs.items():
            found = await tx.all(
                "SELECT first, last FROM ties WHERE hash = ? AND other = ?", *map(self._people.hash, pair)
            )
            for tied_first, tied_last in found:
                merged[pair] = (min(first, tied_first), max(last, tied_last))
        return merged

    async def _cap(self, tx: Transaction, subjects: Iterable[str]) -> None:
        # One more than may count is enough to know that a subject is shared.
        pairs = await self._people.pairs(tx, set(subjects))
        crowded = {s: others for s, others in pairs.items() if len(others) > self._max_links + 1}
        for subject, others in crowded.items():
            kept = identity.keep([(other, first) for other, (first, _) in others.items()], self._max_links + 1)
            surplus = set(others) - {other for other, _ in kept}
            await tx.many("DELETE FROM links WHERE subject = ? AND other = ?", [(subject, o) for o in surplus])


def _merged(new: Times, known: Pairs, pair: tuple[str, str]) -> Times | None:
    had = known[pair[0]].get(pair[1])
    merged = new if had is None else (min(new[0], had[0]), max(new[1], had[1]))
    return None if merged == had else merged


def _is_news(merged: Times, known: Pairs, pair: tuple[str, str]) -> bool:
    had = known[pair[0]].get(pair[1])
    return had is None or merged[0] < had[0]


def _ones(values: Iterable[str]) -> list[tuple[str]]:
    return [(value,) for value in values]
