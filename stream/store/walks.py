"""Walks: syncs looking at everybody, page by page, so that one that is cut off goes on where it was."""

from msgspec import Struct

from stream import facts
from stream.store.database import Database, Row, Transaction


class Walk(Struct, frozen=True):
    """One walk of one sync. `state`: open, done. `everything`: what is wanted is sent even where it is known to be so.
    `after`: everybody up to this subject was looked at ("" once it is done). How many people were `seen`; `differed`;
    and `failed`, could not be made so."""

    id: int
    processor: str
    state: str
    who: str
    asked: float
    finished: float | None
    everything: bool
    after: str
    seen: int
    differed: int
    failed: int


class Walks:
    """The walks of all syncs. Of one sync, one after another."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ask(self, processor: str, who: str, everything: bool, now: float) -> int:
        """Asks for a walk; its number. One that was asked for and has not begun is the same."""

        async def write(tx: Transaction) -> int:
            found = await tx.all(
                "SELECT id FROM walks WHERE processor = ? AND state = 'open' AND everything = ? AND after = ''",
                processor,
                everything,
            )
            if found:
                return int(found[0][0])
            await tx.run(
                "INSERT INTO walks (processor, state, who, asked, everything, after, seen, differed, failed)"
                " VALUES (?, 'open', ?, ?, ?, '', 0, 0, 0)",
                *(processor, who, now, everything),
            )
            return int((await tx.all("SELECT max(id) FROM walks"))[0][0])

        return await self._db.writing(write)

    async def get(self, number: int) -> Walk | None:
        """One walk, as it is now."""
        return next(iter(await self._db.reading(lambda tx: self._those(tx, "id = ?", number))), None)

    async def next(self, processor: str) -> tuple[Walk | None, float | None]:
        """The walk that is to be made or gone on with; and when the last one ended (None: there was none)."""

        async def read(tx: Transaction) -> tuple[Walk | None, float | None]:
            those = await self._those(tx, "processor = ? AND state = 'open' ORDER BY id LIMIT 1", processor)
            ((last,),) = await tx.all(
                "SELECT max(finished) FROM walks WHERE processor = ? AND state = 'done'", processor
            )
            return next(iter(those), None), last

        return await self._db.reading(read)

    async def advance(self, walk: Walk) -> None:
        """Keeps how far it is, if nobody got further or finished it meanwhile. Losing it repeats a page."""
        await self._db.writing(
            lambda tx: tx.run(
                "UPDATE walks SET after = ?1, seen = ?2, differed = ?3, failed = ?4"
                " WHERE id = ?5 AND state = 'open' AND after < ?1",
                *(walk.after, walk.seen, walk.differed, walk.failed, walk.id),
            ),
            durable=False,
            beside=True,
        )

    async def finish(self, walk: Walk, now: float) -> None:
        """It has seen everybody, and names nobody any more. Only the last of each sync are kept."""

        async def write(tx: Transaction) -> None:
            await tx.run(
                "UPDATE walks SET state = 'done', finished = ?, after = '', seen = ?, differed = ?, failed = ?"
                " WHERE id = ?",
                *(now, walk.seen, walk.differed, walk.failed, walk.id),
            )
            await tx.run(
                "DELETE FROM walks WHERE processor = ?1 AND state = 'done' AND id NOT IN (SELECT id FROM walks"
                " WHERE processor = ?1 AND state = 'done' ORDER BY id DESC LIMIT ?2)",
                *(walk.processor, _KEPT),
            )

        await self._db.writing(write)

    async def page(self, tx: Transaction, after: str, limit: int) -> list[str]:
        """The next subjects, in order: all of whom there are facts or links, or any destination was told."""
        params: list[object] = []
        for table in facts.TABLES:
            params += [table, after, limit]
        params += [after, limit] * len(_OTHERS)
        found = await tx.all(_PAGE, *params, limit)
        return [subject for (subject,) in found]

    async def _those(self, tx: Transaction, where: str, *params: object) -> list[Walk]:
        fields = ", ".join(Walk.__struct_fields__)
        found = await tx.all(f"SELECT {fields} FROM walks WHERE {where}", *params)
        return [_walk(row) for row in found]


def _walk(row: Row) -> Walk:
    number, processor, state, who, asked, finished, everything, after, *counts = row
    return Walk(number, processor, state, who, asked, finished, bool(everything), after, *counts)


_KEPT = 20
_OTHERS = ("subject FROM confirmed", "subject FROM links", "other AS subject FROM links")
_SOURCES = [
    *("SELECT subject FROM rows WHERE tbl = ? AND subject > ? ORDER BY subject LIMIT ?" for _ in facts.TABLES),
    *(f"SELECT DISTINCT {of} WHERE {of.split()[0]} > ? ORDER BY 1 LIMIT ?" for of in _OTHERS),
]
_EVERY = " UNION ".join(f"SELECT * FROM ({one}) AS s{number}" for number, one in enumerate(_SOURCES))
_PAGE = f"SELECT subject FROM ({_EVERY}) AS every ORDER BY subject LIMIT ?"
