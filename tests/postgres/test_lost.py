"""Connections that are lost, and servers that go away: everything is done once."""

import asyncio
from functools import partial

import asyncpg
import pytest

from stream import outage
from stream.config import IdentityConfig
from stream.errors import ClaimLost, Conflict, StoreUnavailable, WentBack
from stream.outage import outlast
from stream.places import StoreConfig
from stream.store import Store, Work
from stream.store import postgres as sessions
from stream.store.postgres_database import _ALONE
from tests.contracts.stores import TRACK, OnPostgres, Pause, claimed, dead, hold, put, values
from tests.postgres.proxy import Proxy

pytestmark = pytest.mark.slow
ROW = ("t", "user:1")


@pytest.fixture
async def kind(postgres_url):
    async with OnPostgres(postgres_url).made() as kind:
        yield kind


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Attempts follow each other quickly."""
    monkeypatch.setattr(outage, "_FIRST_S", 0.01)
    monkeypatch.setattr(outage, "_LONGEST_S", 0.05)


def opened(url):
    return Store.open(StoreConfig(url=url, connections=4), IdentityConfig())


async def count(store, claims, offset):
    """One event more, as a projection counts it."""
    while True:
        loaded = await store.load([ROW])
        value = str(int(loaded.rows[ROW].value or 0) + 1)
        work = Work(processor="p", claims=claims, loaded=loaded.rows, puts={ROW: value}, positions={TRACK: offset})
        work.fates = {TRACK: {"applied": 1}}
        try:
            return await store.commit(work)
        except Conflict:
            continue


async def counted(store):
    return await values(store, ROW), (await store.positions.fates())["p"]["applied"]


@pytest.mark.parametrize("cut", ["before", "silent", "after"])
async def test_a_commit_whose_answer_was_lost_counts_once_whether_it_arrived_or_not(kind, cut):
    async with Proxy.to(kind.url) as (proxy, url), opened(url) as store:
        claims = await claimed(store)
        await count(store, claims, 1)
        proxy.cut = cut
        await count(store, claims, 2)
        await count(store, claims, 3)
        assert proxy.cuts == 1
        assert await counted(store) == (["3"], 3)


async def test_what_became_of_a_commit_is_asked_until_the_server_is_back(kind):
    async with Proxy.to(kind.url) as (proxy, url), opened(url) as store:
        claims = await claimed(store)
        proxy.cut, proxy.away = "after", True
        task = asyncio.create_task(count(store, claims, 1))
        while not proxy.cuts:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert not task.done()
        proxy.away = False
        await task
        assert await counted(store) == (["1"], 1)


async def test_a_transaction_whose_connection_is_killed_in_the_middle_is_done_again_and_counts_once(kind):
    async with kind.open() as store:
        pause = Pause()
        runs = 0

        async def write(tx):
            nonlocal runs
            runs += 1
            await tx.run("INSERT INTO meta (key, value) VALUES ('table:a', '')")
            if runs == 1:
                await pause.pass_through()
            await tx.run("INSERT INTO meta (key, value) VALUES ('table:b', '')")
            return runs

        task = asyncio.create_task(store.db.writing(write))
        await pause.reached()
        await killed(kind.url)
        pause.let_go()
        assert await task == 2
        assert sorted(await store.tables()) == ["a", "b"]


async def test_connections_that_died_while_nobody_used_them_are_replaced(kind):
    async with kind.open() as store:
        await asyncio.gather(*[store.tables() for _ in range(4)])
        await killed(kind.url)
        assert await asyncio.gather(*[store.tables() for _ in range(4)]) == [[]] * 4


async def test_a_server_that_stops_is_waited_for_and_nothing_is_lost_or_counted_twice(own_server):
    async with own_server() as server, opened(server.url) as store:
        claims = await claimed(store)
        done = 0

        async def work():
            nonlocal done
            while done < 200:
                await outlast(partial(count, store, claims, done + 1), "p")
                done += 1

        task = asyncio.create_task(work())
        for end in (server.stop, server.kill):
            before = done
            while done < before + 20:
                await asyncio.sleep(0.01)
            await end()
            with pytest.raises(StoreUnavailable, match=r"store at postgresql://127\.0\.0\.1"):
                await store.tables()
            await server.start()
        await task
        assert await counted(store) == (["200"], 200)


async def test_a_member_that_is_frozen_in_a_transaction_is_overtaken_and_then_writes_nothing(kind, monkeypatch):
    monkeypatch.setattr(sessions, "_IDLE_S", 1)
    async with kind.open() as frozen, kind.open() as other:
        claims = await claimed(frozen)
        pause, held = Pause(), frozen.positions.check

        async def check(tx, processor, claims):
            await held(tx, processor, claims)
            await pause.pass_through()

        frozen.positions.check = check
        task = asyncio.create_task(put(frozen, claims, {ROW: '"old"'}))
        await pause.reached()
        newer = await asyncio.wait_for(claimed(other), 10)
        await put(other, newer, {ROW: '"new"'})
        pause.let_go()
        with pytest.raises(ClaimLost):
            await task
        assert await values(other, ROW) == ['"new"']


async def test_a_process_that_is_frozen_while_it_is_answered_lets_others_write_before_long(postgres_url, monkeypatch):
    monkeypatch.setattr(sessions, "_IDLE_S", 1)
    settings = sessions._settings(StoreConfig(url=postgres_url))
    connection = await asyncpg.connect(postgres_url, server_settings=settings)
    await connection.execute("BEGIN")
    await connection.fetch(_ALONE)
    large = await connection.prepare("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    connection._transport.pause_reading()
    frozen = asyncio.create_task(large.fetch())
    async with asyncio.timeout(20), opened(postgres_url) as store:  # whoever makes the tables is alone
        assert await store.tables() == []
    connection.terminate()
    with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
        await frozen


async def test_a_server_that_is_frozen_counts_as_away_and_what_was_under_way_is_done_once(own_server, monkeypatch):
    monkeypatch.setattr(sessions, "_CONNECT_S", 0.5)
    async with own_server() as server:
        place = StoreConfig(url=server.url, connections=4, statement_timeout_s=0.5)
        async with Store.open(place, IdentityConfig()) as store:
            claims = await claimed(store)
            server.freeze()
            task = asyncio.create_task(outlast(partial(count, store, claims, 1), "p"))
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(store.tables(), 5)
            server.thaw()
            await task
            assert await counted(store) == (["1"], 1)


async def test_a_store_that_forgot_what_was_committed_ends_the_process_that_remembers_it(kind):
    async with kind.open() as store:
        claims = await claimed(store)
        await count(store, claims, 1)
        await store.db.writing(lambda tx: tx.run("UPDATE positions SET position = 0"))  # as a standby that lagged
        with pytest.raises(WentBack, match=r"how far p was in segment\.track/0"):
            await count(store, claims, 2)
        assert await store.positions.all() == {"p": {TRACK: 0}}
    async with kind.open() as store:
        await count(store, await claimed(store), 1)


async def test_a_failover_ends_the_process_for_the_new_server_may_lack_what_was_committed(own_server):
    async with own_server() as server:
        async with opened(server.url) as store:
            await count(store, await claimed(store), 1)
            await server.stand_by()
            with pytest.raises(StoreUnavailable):
                await hold(store, dead())
            await server.promote()
            with pytest.raises(WentBack, match="another server"):
                await hold(store, dead())
        async with opened(server.url) as store:
            assert await counted(store) == (["1"], 1)
            assert await store.held.page() == []
            await count(store, await claimed(store), 2)


async def test_what_became_of_a_commit_is_not_asked_of_a_standby_that_may_not_know_it_yet(own_server):
    async with own_server() as server, sessions.Sessions.open(StoreConfig(url=server.url)) as pool:
        await server.stand_by()
        async with pool.lent() as session:
            with pytest.raises(sessions.Lost, match="standby"):
                await session.outcome("1000000")


async def test_a_server_that_is_not_there_is_named_without_the_password():
    with pytest.raises(StoreUnavailable) as raised:
        async with opened("postgresql://me:secret@127.0.0.1:1/state"):
            pass
    assert "postgresql://127.0.0.1:1/state" in str(raised.value) and "secret" not in str(raised.value)


async def killed(url):
    """Ends every session of this test's database."""
    connection = await asyncpg.connect(url)
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = $2"
    ended = await connection.fetch(ends, await connection.fetchval("SELECT current_database()"), "segment-stream")
    await connection.close()
    assert ended
