"""Deletion: one request to forget a person, as it is read."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from stream.message import Partition
from stream.store.database import Database, Row, Transaction
from stream.store.receipts import Receipt, Receipts


class Deletion(Struct, frozen=True):
    """One request to delete. `erased`: rows and held deliveries removed. `outstanding`: destination → addresses that it
    must still delete. Subjects and addresses are named only until it is done; `hash` and `receipts` are what stays."""

    id: str
    hash: str
    time: float
    authority: str
    state: str
    asked: float
    finished: float | None
    erased: int
    ends: dict[Partition, int] | None
    subjects: tuple[str, ...] = ()
    outstanding: dict[str, tuple[str, ...]] = {}
    receipts: tuple[Receipt, ...] = ()


async def those(
    tx: Transaction, db: Database, receipts: Receipts, column: str, values: Iterable[str]
) -> list[Deletion]:
    """The requests with one of these values in a column, oldest first."""
    found = await tx.all(
        "SELECT id, hash, time, authority, state, asked, finished, erased, ends FROM deletions"
        f" WHERE {db.among(column)} ORDER BY asked, id",
        db.listed(values),
    )
    if not found:
        return []
    numbers = [row[0] for row in found]
    subjects: dict[str, list[str]] = {}
    for number, subject in await tx.all(
        f"SELECT id, subject FROM deletion_subjects WHERE subject IS NOT NULL AND {db.among('id')}", db.listed(numbers)
    ):
        subjects.setdefault(number, []).append(subject)
    outstanding, answered = await receipts.outstanding(tx, numbers), await receipts.answered(tx, numbers)
    return [
        _deletion(row, subjects.get(row[0], ()), outstanding.get(row[0], {}), answered.get(row[0], ())) for row in found
    ]


def _deletion(
    row: Row, subjects: Iterable[str], outstanding: dict[str, tuple[str, ...]], receipts: tuple[Receipt, ...]
) -> Deletion:
    number, hashed, time, authority, state, asked, finished, erased, ends = row
    return Deletion(
        id=number,
        hash=hashed,
        time=time,
        authority=authority,
        state=state,
        asked=asked,
        finished=finished,
        erased=erased,
        ends=_ends(ends),
        subjects=tuple(sorted(subjects)),
        outstanding=outstanding,
        receipts=receipts,
    )


def _ends(text: str | None) -> dict[Partition, int] | None:
    if text is None:
        return None
    return {Partition(topic, number): end for topic, number, end in msgspec.json.decode(text)}
