"""People: which subjects are one person, and before which time nothing about them may be remembered.

A *pair* says that a subject (an anonymous one, or an alias) was seen as another (a user), with the first and the last
time. It is *alive* while its last time is younger than both tombstones. Of a subject's living pairs the one with the
smallest first time *owns* it (core/identity.py). All of it is minimum, maximum and union: any order of events ends in
the same people.
"""

import hashlib
from collections.abc import Collection, Iterable

from stream.config import IdentityConfig
from stream.core import identity
from stream.store.database import Database, Transaction
from stream.store.graph import Component, Graph, Pairs, Unlinked, grave

_PAGE = 1_000


class People:
    """Links and tombstones, read and written in transactions of others."""

    def __init__(self, db: Database, config: IdentityConfig, key: bytes) -> None:
        self._db = db
        self._config = config
        self._key = key

    def hash(self, subject: str) -> str:
        """What stands for a subject once it must not be named: its kind's first letter and a keyed hash."""
        digest = hashlib.blake2b(subject.encode(), key=self._key, digest_size=16).hexdigest()
        return identity.kind(subject)[0] + digest

    async def serial(self, tx: Transaction) -> int:
        """Grows with every tombstone set or raised; 0 while there is none."""
        return int((await tx.all("SELECT coalesce(max(serial), 0) FROM tombstones"))[0][0])

    async def tombstones(self, tx: Transaction, subjects: Collection[str]) -> dict[str, float]:
        """The tombstones of those subjects that have one."""
        if not subjects or not await self.serial(tx):
            return {}
        hashes = {self.hash(subject): subject for subject in subjects}
        return {hashes[h]: time for h, time in (await self.buried(tx, hashes)).items()}

    async def unerased(self, tx: Transaction, subjects: Collection[str]) -> set[str]:
        """Those of the subjects whose rows may still hold what is older than their tombstone."""
        hashes = {self.hash(subject): subject for subject in subjects}
        found = await tx.all(
            f"SELECT hash FROM tombstones WHERE (erased IS NULL OR erased < time) AND {self._db.among('hash')}",
            self._db.listed(hashes),
        )
        return {hashes[h] for (h,) in found}

    async def buried(self, tx: Transaction, hashes: Collection[str]) -> dict[str, float]:
        """The tombstones of those hashes that have one."""
        found = await tx.all(
            f"SELECT hash, time FROM tombstones WHERE {self._db.among('hash')}", self._db.listed(hashes)
        )
        return {h: time for h, time in found}

    async def buried_since(self, tx: Transaction, serial: int, subjects: Iterable[str]) -> bool:
        """Has any of the subjects got a tombstone, or a younger one, after that serial?"""
        found = await tx.all("SELECT hash FROM tombstones WHERE serial > ?", serial)
        fresh = {h for (h,) in found}
        return bool(fresh) and any(self.hash(subject) in fresh for subject in subjects)

    async def pairs(self, tx: Transaction, subjects: Collection[str]) -> Pairs:
        """The pairs of each subject, the dead ones too. Every subject asked for is a key."""
        found = await tx.all(
            f"SELECT subject, other, first, last FROM links WHERE {self._db.among('subject')}",
            self._db.listed(subjects),
        )
        pairs: Pairs = {subject: {} for subject in subjects}
        for subject, other, first, last in found:
            pairs[subject][other] = (first, last)
        return pairs

    async def fans(self, tx: Transaction, users: Collection[str]) -> dict[str, list[str]]:
        """For each user the subjects with a pair to it, at most one more than may count."""
        if not users:
            return {}
        found = await tx.all(
            f"SELECT asked.value, links.subject FROM {self._db.each('asked')} JOIN links ON links.other = asked.value"
            " AND links.subject IN (SELECT subject FROM links WHERE other = asked.value ORDER BY subject LIMIT ?)",
            self._db.listed(users),
            self._config.max_links + 1,
        )
        fans: dict[str, list[str]] = {user: [] for user in users}
        for user, subject in found:
            fans[user].append(subject)
        return fans

    async def tied(self, tx: Transaction, hashes: Collection[str]) -> dict[str, list[str]]:
        """For each hash of a user the hashes of erased subjects, at most one more than may count."""
        found = await tx.all(
            f"SELECT asked.value, ties.hash FROM {self._db.each('asked')} JOIN ties ON ties.other = asked.value"
            " AND ties.hash IN (SELECT hash FROM ties WHERE other = asked.value ORDER BY hash LIMIT ?)",
            self._db.listed(hashes),
            self._config.max_links + 1,
        )
        tied: dict[str, list[str]] = {user: [] for user in hashes}
        for user, subject in found:
            tied[user].append(subject)
        return tied

    def may_link(self, subject: str, other: str) -> bool:
        """May this pair ever count, as the configuration says it now?"""
        return identity.may_link(subject, other, self._config.never_link)

    def stands_for_somebody(self, subject: str) -> bool:
        """Not "null", not zeros: see `[identity] never_link`."""
        return identity.linkable(identity.identifier(subject), self._config.never_link)

    async def components(self, tx: Transaction, subjects: Collection[str]) -> dict[str, Component]:
        """The person of each subject, as it now is."""
        return (await self.known(tx, subjects))[0]

    async def known(self, tx: Transaction, subjects: Collection[str]) -> tuple[dict[str, Component], dict[str, float]]:
        """The same, and the tombstones of all subjects of these people that have one."""
        graph = await self._graph(tx, set(subjects))
        return graph.components(subjects), graph.tombstones

    async def unlinked(self, tx: Transaction, limit: int) -> list[Unlinked]:
        """Pairs that do not count, by subject; those that a deletion ended are not named any more."""
        found: list[Unlinked] = []
        after = ""
        while len(found) < limit:
            query = "SELECT DISTINCT subject FROM links WHERE subject > ? ORDER BY subject LIMIT ?"
            subjects = [subject for (subject,) in await tx.all(query, after, _PAGE)]
            if not subjects:
                break
            after = subjects[-1]
            graph = Graph(self._config)
            graph.pairs = await self.pairs(tx, subjects)
            others = {other for pairs in graph.pairs.values() for other in pairs}
            graph.fans = await self.fans(tx, [other for other in others if graph.may_own(other)])
            graph.tombstones = await self.tombstones(tx, others.union(subjects))
            found += [pair for subject in subjects for pair in graph.unlinked(subject)]
        found += await self._refused(tx, limit)
        return sorted(found, key=lambda pair: (pair.subject, pair.other))[:limit]

    async def _refused(self, tx: Transaction, limit: int) -> list[Unlinked]:
        rows = await tx.all("SELECT subject, other, first, last FROM refused ORDER BY subject, other LIMIT ?", limit)
        graves = await self.tombstones(tx, {subject for row in rows for subject in row[:2]})
        return [
            Unlinked(s, o, first, last, "refused", None) for s, o, first, last in rows if last > grave(graves, (s, o))
        ]

    async def _graph(self, tx: Transaction, start: set[str]) -> Graph:
        graph = Graph(self._config)
        visited: set[str] = set()
        frontier = start
        while frontier:
            visited |= frontier
            graph.fans.update(await self.fans(tx, [s for s in frontier if graph.may_own(s)]))
            around = frontier | {fan for s in frontier for fan in graph.fans.get(s, ())}
            graph.pairs.update(await self.pairs(tx, [s for s in around if s not in graph.pairs]))
            ends = around | {other for s in around for other in graph.pairs[s]}
            graph.tombstones.update(await self.tombstones(tx, ends))
            frontier = {end for s in around if (end := graph.nearest(s)) and (s in visited or end in visited)}
            frontier = (frontier | {s for s in around if graph.nearest(s) in visited}) - visited
        return graph
