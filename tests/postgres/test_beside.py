"""Members of several processes write at the same time: what one relies on stays, and nobody waits in a circle."""

import asyncio
import itertools
import json
import random

import asyncpg
import msgspec
import pytest

from stream.config import IdentityConfig
from stream.core.sheet import Changes
from stream.errors import Conflict, SchemaMismatch, StoreError
from stream.facts import Consents, Memberships, Profile
from stream.message import Partition
from stream.places import StoreConfig
from stream.store import Store, Work
from tests.contracts.stores import OnPostgres, Pause, claimed, erase, forget, link, mark, put, values

pytestmark = pytest.mark.slow


@pytest.fixture
async def kind(postgres_url):
    async with OnPostgres(postgres_url).made() as kind:
        yield kind


@pytest.fixture
async def connection(postgres_url):
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def test_ten_processes_that_start_together_make_the_tables_once(kind):
    async def epoch():
        async with kind.open() as store:
            return next(store._versions), store.people.hash("user:1")

    found = await asyncio.gather(*[epoch() for _ in range(10)])
    assert len({version for version, _ in found}) == 10
    assert len({hashed for _, hashed in found}) == 1


async def test_tables_of_a_newer_version_are_refused_and_left_as_they_were(kind, connection):
    async with kind.open():
        pass
    schema = kind.url.rpartition("=")[2]
    await connection.execute(f"UPDATE {schema}.meta SET value = '99' WHERE key = 'schema'")
    for create in (True, False):
        with pytest.raises(SchemaMismatch, match="the state has schema 99"):
            async with Store.open(kind.url, IdentityConfig(), create):
                pass
    assert await connection.fetchval(f"SELECT value FROM {schema}.counters WHERE name = 'epoch'") == 1


async def test_who_only_looks_makes_no_tables(kind, connection):
    with pytest.raises(StoreError, match="there is no state yet"):
        async with Store.open(kind.url, IdentityConfig(), create=False):
            pass
    schema = kind.url.rpartition("=")[2]
    assert await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = $1", schema) == []


async def test_two_that_lock_each_other_out_are_both_done(kind):
    async with kind.open() as store:
        await store.register(["a", "b"])
        both = asyncio.Barrier(2)

        def body(first, second):
            runs = itertools.count()

            async def write(tx):
                await tx.run("UPDATE meta SET value = value || ? WHERE key = ?", first, f"table:{first}")
                if next(runs) == 0:
                    await both.wait()
                await tx.run("UPDATE meta SET value = value || ? WHERE key = ?", first, f"table:{second}")

            return write

        writes = [store.db.writing(body(*pair), beside=True) for pair in ("ab", "ba")]
        await asyncio.gather(*writes)
        found = await store.db.reading(lambda tx: tx.all("SELECT value FROM meta WHERE key LIKE 'table:%'"))
        assert [sorted(value) for (value,) in found] == [["a", "b"]] * 2


async def test_members_that_write_the_same_rows_do_not_wait_for_each_other_in_a_circle(kind, connection):
    async def member(number):
        async with kind.open() as store:
            part, dice = Partition("segment.track", number), random.Random(number)
            claims = await claimed(store, "p", part)
            for offset in range(1, 11):
                await batch(store, claims, part, offset, dice.sample(range(300), 200))

    async def batch(store, claims, part, offset, numbers):
        keys = [("t", f"user:{n}") for n in numbers]
        changes = Changes(marks={(f"user:{n}", "traits"): None for n in numbers[:20]})
        while True:
            loaded = await store.load(keys)
            puts = {key: str(int(loaded.rows[key].value or 0) + 1) for key in keys}
            work = Work(processor="p", claims=claims, positions={part: offset}, loaded=loaded.rows, puts=puts)
            work.changes = changes
            try:
                return await store.commit(work)
            except Conflict:
                continue

    async with kind.open() as store:
        await asyncio.gather(*[member(number) for number in range(4)])
        every = await values(store, *[("t", f"user:{n}") for n in range(300)])
        assert sum(int(value or 0) for value in every) == 4 * 10 * 200
        assert {mark.revision for mark in await store.marks.open("p")}
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await connection.fetchval(query) == 0


async def test_a_deletion_waits_for_batches_that_are_being_written_and_they_for_it(kind):
    async with kind.open() as one, kind.open() as other:
        claims = await claimed(one)
        first, second = Pause(), Pause()
        order = []

        async def paused(store, pause, name, beside):
            async def write(tx):
                order.append(name)
                await pause.pass_through()

            await store.db.writing(write, beside=beside)

        batch = asyncio.create_task(paused(one, first, "batch", True))
        await first.reached()
        await put(other, claims, {("t", "user:1"): "1"})  # beside it
        deletion = asyncio.create_task(paused(other, second, "deletion", False))
        await asyncio.sleep(0.2)
        assert order == ["batch"]
        first.let_go()
        await second.reached()
        later = asyncio.create_task(put(one, claims, {("t", "user:2"): "1"}))
        await asyncio.sleep(0.2)
        assert not later.done()
        second.let_go()
        await asyncio.gather(batch, deletion, later)


async def test_whoever_turns_out_to_set_a_tombstone_begins_again_alone(kind):
    async with kind.open() as one, kind.open() as other:
        await forget(one, "user:1", 5.0)
        pause = Pause()

        async def write(tx):
            await pause.pass_through()

        batch = asyncio.create_task(other.db.writing(write, beside=True))
        await pause.reached()
        spreading = asyncio.create_task(link(one, ("anon:1", "user:1", 3.0)))  # to a deleted user: so is anon:1
        await asyncio.sleep(0.2)
        assert not spreading.done()
        pause.let_go()
        await asyncio.gather(batch, spreading)
        assert await one.db.reading(lambda tx: one.people.tombstones(tx, ["anon:1"])) == {"anon:1": 5.0}


async def test_revisions_are_in_the_order_of_the_commits(kind):
    async with kind.open() as one, kind.open() as other:
        seen = []

        async def marking(store, name):
            for number in range(25):
                marks = await mark(store, (f"user:{number}", "traits"), processor=name)
                seen.append(marks[0].revision)

        await asyncio.gather(marking(one, "p"), marking(other, "q"))
        assert len(set(seen)) == 50


async def test_text_that_the_server_cannot_hold_is_kept_all_the_same(kind):
    names = ["a\0b", "a\x1ab", "a\x1a0b", "a\x1a1\0b", "\0"]
    async with kind.open() as store:
        claims = await claimed(store)
        await put(store, claims, {("t", name): json.dumps(name) for name in names})
        assert await values(store, *[("t", name) for name in names]) == [json.dumps(name) for name in names]
        assert set((await store.load([("t", name) for name in names])).rows) == {("t", name) for name in names}


async def test_such_a_text_is_kept_behind_one_that_is_not_known(kind):
    async with kind.open() as store:
        insert = "INSERT INTO deletion_subjects (id, hash, subject) VALUES (?, ?, ?)"
        rows = [("r1", "h1", None), ("r1", "h2", "user:a\0b")]
        await store.db.writing(lambda tx: tx.many(insert, rows))
        found = await store.db.reading(lambda tx: tx.all("SELECT subject FROM deletion_subjects ORDER BY hash"))
        assert [subject for (subject,) in found] == [None, "user:a\0b"]


async def test_analysts_read_profiles_memberships_consents_and_deletions(kind, connection):
    def text(row):
        return msgspec.json.encode(row).decode()

    async with kind.open() as store:
        await store.register(["profiles", "audiences", "consent"])
        claims = await claimed(store)
        traits = {"plan": ("pro", 9.0, 9.0, "m"), "nul": ("a\0b\\u0000", 9.0, 9.0, "m")}
        profile = msgspec.convert(
            {
                "first_seen": 1.0,
                "last_seen": 9.0,
                "traits": traits,
                "identifiers": {"email:a@b.c": (True, 9.0, 9.0, "m")},
            },
            Profile,
        )
        audiences = {"audiences": {"sp/vip": (True, 8.0, 8.0, "m", "audience", "agg_1")}}
        consent = {
            "categories": {"categories": ({"ads": False}, 7.0, 7.0, "m", "web", "track")},
            "subscriptions": {"email": ("unsubscribed", 6.0, 6.0, "m", "web", "Unsubscribed")},
        }
        rows = {
            ("profiles", "user:1"): text(profile),
            ("audiences", "user:1"): text(msgspec.convert(audiences, Memberships)),
            ("consent", "user:1"): text(msgspec.convert(consent, Consents)),
        }
        await put(store, claims, rows)
        await forget(store, "user:2", 5.0)
    await connection.execute(f"SET search_path = {kind.url.rpartition('=')[2]}")

    async def rows_of(query):
        return [tuple(row) for row in await connection.fetch(query)]

    assert await rows_of(
        "SELECT subject, extract(epoch FROM last_seen)::int, traits ->> 'plan', traits ->> 'nul', identifiers"
        " FROM person_profiles"
    ) == [("user:1", 9, "pro", "a\ufffdb\\u0000", ["email:a@b.c"])]
    assert await rows_of("SELECT subject, audience, member, kind FROM person_memberships") == [
        ("user:1", "sp/vip", True, "audience")
    ]
    assert await rows_of("SELECT subject, kind, name, said, source FROM person_consents ORDER BY kind") == [
        ("user:1", "category", "ads", "false", "web"),
        ("user:1", "subscription", "email", "unsubscribed", "web"),
    ]
    assert await rows_of("SELECT id, state, authority, outstanding, receipts FROM person_deletions") == [
        ("r1", "open", "segment", 0, "[]")
    ]


async def test_a_store_of_another_version_is_brought_up_to_date_by_whoever_may(kind, connection):
    async with kind.open() as store:
        await put(store, await claimed(store), {("t", "user:1"): "1"})
    schema = kind.url.rpartition("=")[2]
    await connection.execute(f"SET search_path = {schema}; UPDATE meta SET value = '2' WHERE key = 'schema'")
    await connection.execute("DROP TABLE duties; DROP TABLE spills; DELETE FROM counters WHERE name = 'leases'")
    with pytest.raises(SchemaMismatch, match="stream check --migrate"):
        async with Store.open(StoreConfig(url=kind.url), IdentityConfig(), create=False):
            pass

    async def tables():
        async with kind.open() as store:
            return await values(store, ("t", "user:1"))

    assert await asyncio.gather(*[tables() for _ in range(5)]) == [["1"]] * 5
    assert await connection.fetchval("SELECT value FROM meta WHERE key = 'schema'") == "3"
    async with kind.open() as store:
        await forget(store, "user:1", 5.0)
        assert await erase(store, "r1") == 0
