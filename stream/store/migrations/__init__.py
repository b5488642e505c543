"""Migrations: the tables of a new store, and what brings an older one up to date, a version at a time and never back.

N.sql leads from version N - 1 to N; schema.sql is what all of them lead to. Of ten processes that start together one
does it: whoever migrates is alone.
"""

import secrets
from importlib import resources

from stream.errors import SchemaMismatch, StoreError
from stream.store.database import Database, Transaction

SCHEMA = 3
_FIRST = 2  # older ones were never released


async def prepared(db: Database, create: bool) -> tuple[bytes, int]:
    """Makes the tables, or brings them up to date, if `create`. The key of the hashes, and an epoch that no other
    opener has. Raises SchemaMismatch for tables of another version, StoreError where there are none."""

    async def write(tx: Transaction) -> tuple[bytes, int]:
        await (_migrate(tx, db) if create else check(tx, db))
        await _refuse_moved(tx)
        await tx.run("UPDATE counters SET value = value + 1 WHERE name = 'epoch'")
        ((epoch,),) = await tx.all("SELECT value FROM counters WHERE name = 'epoch'")
        ((key,),) = await tx.all("SELECT value FROM meta WHERE key = 'key'")
        return bytes.fromhex(key), int(epoch)

    return await db.writing(write)


async def check(tx: Transaction, db: Database) -> None:
    """Raises StoreError where there are no tables yet, SchemaMismatch where they are not of this version."""
    if not await db.has(tx, "meta"):
        raise StoreError("there is no state yet; `stream run` makes it")
    if (version := await _version(tx)) < SCHEMA:
        raise SchemaMismatch(
            f"the state has schema {version}, this version of stream reads and writes schema {SCHEMA}:"
            " bring it up to date with `stream check --migrate`, or by starting `stream run`"
        )


async def _migrate(tx: Transaction, db: Database) -> None:
    if not await db.has(tx, "meta"):
        await _create(tx, db)
        return
    before = await _version(tx)
    if before < SCHEMA:
        for version in range(before + 1, SCHEMA + 1):
            await _execute(tx, db, resources.files(__name__).joinpath(f"{version}.sql").read_text())
        await tx.run("UPDATE meta SET value = ? WHERE key = 'schema'", str(SCHEMA))
        await _views(tx, db)


async def _refuse_moved(tx: Transaction) -> None:
    for (to,) in await tx.all("SELECT value FROM meta WHERE key = 'moved'"):
        raise StoreError(f"this state was moved to {to}: what it would do, that one does now")


async def _version(tx: Transaction) -> int:
    found = await tx.all("SELECT value FROM meta WHERE key = 'schema'")
    version = found[0][0] if found else "none"
    if not version.isdigit() or not _FIRST <= int(version) <= SCHEMA:
        raise SchemaMismatch(
            f"the state has schema {version}, this version of stream reads and writes schema {SCHEMA}:"
            " run the version that wrote it, or start with another file or database"
        )
    return int(version)


async def _create(tx: Transaction, db: Database) -> None:
    await _execute(tx, db, resources.files("stream.store").joinpath("schema.sql").read_text())
    known = [("schema", str(SCHEMA)), ("key", secrets.token_hex(32))]
    await tx.many("INSERT INTO meta (key, value) VALUES (?, ?)", known)
    counters = [("epoch",), ("leases",), ("revision",), ("synced",)]
    await tx.many("INSERT INTO counters (name, value) VALUES (?, 0)", counters)
    await _views(tx, db)


async def _views(tx: Transaction, db: Database) -> None:
    for statement in db.views():
        await tx.run(statement)


async def _execute(tx: Transaction, db: Database, script: str) -> None:
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            await tx.run(db.ddl(statement))
