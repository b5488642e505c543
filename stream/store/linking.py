"""Linking: new pairs of subjects, and what follows where one of them is deleted.

A tombstone spreads: from a user to every subject that was ever seen as that user, and across aliases both ways; never
from an anonymous subject to a user, since a shared device must not delete whoever else used it; and not where a user
has more subjects than may count, since those are strangers to each other. It spreads over erased pairs too (ties, by
hash). So, below the caps, the tombstones are the same whatever comes first, the link or the deletion.

Pairs that may never count, since one of the two stands for nobody, lie apart: nothing is made of them.
"""

from collections.abc import Collection, Iterable, Mapping

from stream.core import identity
from stream.store.database import Database, Transaction
from stream.store.graph import Pairs, Times, grave
from stream.store.people import People

Pair = tuple[str, str]
Links = Mapping[Pair, Times]

_NEVER = float("-inf")


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
        links, refused = self._parted(links)
        known = await self._people.pairs(tx, {subject for subject, _ in links})
        changed = {pair: merged for pair, new in links.items() if (merged := _merged(new, known, pair)) is not None}
        fresh = [pair for pair in changed if _is_news(changed[pair], known, pair)]
        users = {other for _, other in fresh}
        before = await self._people.fans(tx, users)
        graves: dict[str, float] = {}
        marked: set[str] = set()
        if await self._people.serial(tx):
            changed |= await self._with_ties(tx, {p: t for p, t in changed.items() if p[1] not in known[p[0]]})
            marked = await self._spread(tx, await self._ways(tx, fresh, known, before))
            graves = await self._people.tombstones(tx, {s for pair in (*changed, *refused) for s in pair})
        await self.keep(tx, changed, graves)
        await self._refuse(tx, {p: t for p, t in refused.items() if t[1] > grave(graves, p)})
        for subject, other in fresh:
            marked |= {subject, other, *known[subject]}
        return marked | self._lost(before, await self._people.fans(tx, users))

    def _parted(self, links: Links) -> tuple[Links, Links]:
        """Those that may count, and those that never do."""
        refused = {pair: times for pair, times in links.items() if not self._people.may_link(*pair)}
        return {pair: times for pair, times in links.items() if pair not in refused}, refused

    def _lost(self, before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> set[str]:
        """Whoever belonged to a user that has just become shared, and now stands alone."""
        crowded = [user for user in after if len(before[user]) <= self._max_links < len(after[user])]
        return {subject for user in crowded for subject in after[user]}

    async def keep(self, tx: Transaction, pairs: Links, graves: Mapping[str, float]) -> None:
        """Writes pairs: the living ones named, the dead ones as ties. While a pair is kept, the tombstones of its two
        subjects name them: a later deletion may reach them over ties alone, and must find the pair."""
        dead = {p: t for p, t in pairs.items() if t[1] <= max(graves.get(s, float("-inf")) for s in p)}
        await tx.many(
            "INSERT INTO links (subject, other, first, last) VALUES (?, ?, ?, ?) ON CONFLICT (subject, other)"
            " DO UPDATE SET first = excluded.first, last = excluded.last",
            [(*pair, *times) for pair, times in sorted(pairs.items()) if pair not in dead],
        )
        await tx.many("DELETE FROM links WHERE subject = ? AND other = ?", sorted(dead))
        await tx.many(
            "INSERT INTO ties (hash, other, first, last) VALUES (?, ?, ?, ?) ON CONFLICT (hash, other)"
            f" DO UPDATE SET {_wider('ties')}",
            [(*map(self._people.hash, pair), *times) for pair, times in sorted(dead.items())],
        )
        kept = {s for pair in pairs if pair not in dead for s in pair if s in graves}
        await tx.many(
            "UPDATE tombstones SET subject = ? WHERE hash = ?", [(s, self._people.hash(s)) for s in sorted(kept)]
        )
        await self._cap(tx, {subject for subject, _ in pairs})

    async def bury(
        self, tx: Transaction, start: Mapping[str, str | None], time: float, ids: Collection[str]
    ) -> set[str]:
        """Sets or raises tombstones (hash → subject, where it is known) and all they spread to, and puts them on the
        deletions with those ids. The named subjects that were reached, and those that they were seen as: all whose
        people may have changed."""
        await tx.alone()
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
        reached: set[Pair] = set()
        for user, seen in (await self._people.fans(tx, named)).items():
            reached |= {(fan, user) for fan in seen if len(seen) <= self._max_links}
        for user, known in (await self._people.pairs(tx, named)).items():
            reached |= {(user, other) for other in known if len(known) <= self._max_links}
        counting = {pair for pair in reached if self._people.may_link(*pair)}
        fans = await self._people.fans(tx, {other for _, other in counting})
        near = {s for pair in counting if len(fans[pair[1]]) <= self._max_links for s in pair}
        return await self._tied_to(tx, users) | {self._people.hash(s): s for s in near}

    async def _tied_to(self, tx: Transaction, users: Collection[str]) -> dict[str, str | None]:
        """Where erased pairs lead: hashes, with the names of those that are kept."""
        fans = await self._people.tied(tx, users)
        owners: dict[str, list[str]] = {}
        for h, other in await tx.all(
            f"SELECT hash, other FROM ties WHERE {self._db.among('hash')}", self._db.listed(users)
        ):
            owners.setdefault(h, []).append(other)
        few = {other for others in owners.values() for other in others if len(others) <= self._max_links}
        crowds = await self._people.tied(tx, few)
        near = {other for other in few if len(crowds[other]) <= self._max_links}
        near |= {h for hashes in fans.values() for h in hashes if len(hashes) <= self._max_links}
        listed, those = self._db.listed(near), self._db.among("hash")
        names = await tx.all(
            f"SELECT hash, subject FROM tombstones WHERE subject IS NOT NULL AND {those}"
            f" UNION SELECT hash, subject FROM deletion_subjects WHERE subject IS NOT NULL AND {those}",
            listed,
            listed,
        )
        return dict.fromkeys(near) | dict(names)

    async def _ways(
        self, tx: Transaction, fresh: Collection[Pair], known: Pairs, fans: Mapping[str, list[str]]
    ) -> list[Pair]:
        """From whom to whom a tombstone spreads over these pairs."""
        tied = await self._people.tied(tx, [self._people.hash(user) for user in fans])
        crowds = {user: {*fans[user], *(subject for subject, other in fresh if other == user)} for user in fans}
        owners = {subject: set(others) for subject, others in known.items()}
        ways: list[Pair] = []
        for subject, other in fresh:
            owners[subject].add(other)
        for subject, other in fresh:
            if max(len(crowds[other]), len(tied[self._people.hash(other)])) <= self._max_links:
                ways.append((other, subject))
                if identity.kind(subject) == "user" and len(owners[subject]) <= self._max_links:
                    ways.append((subject, other))
        return ways

    async def _spread(self, tx: Transaction, ways: Collection[Pair]) -> set[str]:
        ends = {subject for way in ways for subject in way}
        marked: set[str] = set()
        while True:  # one may open the next: a batch's pairs are not written yet
            graves = await self._people.tombstones(tx, ends)
            found = ((s, t) for s, t in ways if graves.get(s, _NEVER) > graves.get(t, _NEVER))
            source, target = next(found, ("", ""))
            if not source:
                return marked
            marked |= await self._extend(tx, source, target, graves[source])

    async def _extend(self, tx: Transaction, source: str, target: str, time: float) -> set[str]:
        """The deletion of `source` is one of `target` too, and open again."""
        found = await tx.all(
            "SELECT deletions.id FROM deletions JOIN deletion_subjects ON deletion_subjects.id = deletions.id"
            " WHERE deletion_subjects.hash = ? AND deletions.time = ?",
            self._people.hash(source),
            time,
        )
        ids = [number for (number,) in found]
        await tx.many("UPDATE deletions SET state = 'open', ends = NULL, finished = NULL WHERE id = ?", _ones(ids))
        return await self.bury(tx, {self._people.hash(target): target}, time, ids)

    async def _with_ties(self, tx: Transaction, pairs: Links) -> dict[Pair, Times]:
        """Pairs that are not kept, with the times that they had when they were erased."""
        merged = dict(pairs)
        hashed = {tuple(map(self._people.hash, pair)): pair for pair in pairs}
        found = await tx.all(
            f"SELECT hash, other, first, last FROM ties WHERE {self._db.among('hash')}",
            self._db.listed({subject for subject, _ in hashed}),
        )
        for subject, other, first, last in found:
            pair = hashed.get((subject, other))
            if pair is not None:
                merged[pair] = (min(first, merged[pair][0]), max(last, merged[pair][1]))
        return merged

    async def _refuse(self, tx: Transaction, pairs: Links) -> None:
        await tx.many(
            "INSERT INTO refused (subject, other, first, last) VALUES (?, ?, ?, ?) ON CONFLICT (subject, other)"
            f" DO UPDATE SET {_wider('refused')}",
            [(*pair, *times) for pair, times in sorted(pairs.items())],
        )
        # Millions may be seen with one that stands for nobody: some are enough to see that.
        for place, column in enumerate(("subject", "other")):
            nobody = {pair[place] for pair in pairs if not self._people.stands_for_somebody(pair[place])}
            await tx.many(
                f"DELETE FROM refused WHERE {column} = ?1 AND (subject, other) NOT IN"
                f" (SELECT subject, other FROM refused WHERE {column} = ?1 ORDER BY first, subject, other LIMIT ?2)",
                [(one, self._max_links + 1) for one in sorted(nobody)],
            )

    async def _cap(self, tx: Transaction, subjects: Iterable[str]) -> None:
        # One more than may count is enough to know that a subject is shared.
        pairs = await self._people.pairs(tx, set(subjects))
        crowded = {s: others for s, others in pairs.items() if len(others) > self._max_links + 1}
        for subject, others in crowded.items():
            kept = identity.keep([(other, first) for other, (first, _) in others.items()], self._max_links + 1)
            surplus = set(others) - {other for other, _ in kept}
            await tx.many("DELETE FROM links WHERE subject = ? AND other = ?", [(subject, o) for o in surplus])


def _wider(table: str) -> str:
    return (
        f"first = CASE WHEN excluded.first < {table}.first THEN excluded.first ELSE {table}.first END,"
        f" last = CASE WHEN excluded.last > {table}.last THEN excluded.last ELSE {table}.last END"
    )


def _merged(new: Times, known: Pairs, pair: tuple[str, str]) -> Times | None:
    had = known[pair[0]].get(pair[1])
    merged = new if had is None else (min(new[0], had[0]), max(new[1], had[1]))
    return None if merged == had else merged


def _is_news(merged: Times, known: Pairs, pair: tuple[str, str]) -> bool:
    had = known[pair[0]].get(pair[1])
    return had is None or merged[0] < had[0]


def _ones(values: Iterable[str]) -> list[tuple[str]]:
    return [(value,) for value in values]
