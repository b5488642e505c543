"""Many lanes share a transaction, and none of them notices the others."""

import asyncio

import pytest

from stream.commits import Commits
from stream.config import IdentityConfig
from stream.errors import NotYet, StoreError
from stream.store import Store


@pytest.fixture
async def store(tmp_path):
    async with Store.open(f"sqlite:{tmp_path / 'state.db'}", IdentityConfig()) as store:
        yield store


def put(name, error=None):
    async def body(tx):
        await tx.run("INSERT INTO meta (key, value) VALUES (?, '')", f"table:{name}")
        if error is not None:
            raise error
        return name

    return body


async def test_those_who_come_while_one_commit_runs_share_the_next(store, monkeypatch):
    writing, groups = store.db.writing, []

    async def counted(body, durable=True):
        groups.append(durable)
        return await writing(body, durable)

    monkeypatch.setattr(store.db, "writing", counted)
    commits = Commits(store)
    lazy = commits.write(put("lazy"), durable=False)
    done = await asyncio.gather(lazy, *[commits.write(put(str(n))) for n in range(20)])
    assert done == ["lazy", *map(str, range(20))]
    assert sorted(await store.tables()) == sorted(done)
    assert len(groups) == 1
    await commits.write(put("later"), durable=False)
    assert groups == [True, False]


@pytest.mark.parametrize("error", [NotYet("leased"), ZeroDivisionError()], ids=["ours", "a bug"])
@pytest.mark.parametrize("others", [0, 3])
async def test_what_one_raises_is_its_own_and_it_has_changed_nothing(store, error, others):
    commits = Commits(store)
    asked = [put("a"), put("b", error), put("c")] if others else [put("b", error)]
    done = await asyncio.gather(*map(commits.write, asked), return_exceptions=True)
    assert done == (["a", error, "c"] if others else [error])
    assert sorted(await store.tables()) == (["a", "c"] if others else [])


async def test_a_transaction_that_fails_fails_for_all_of_them(store, monkeypatch):
    async def full(body, durable=True):
        raise StoreError("the disk is full")

    commits = Commits(store)
    monkeypatch.setattr(store.db, "writing", full)
    done = await asyncio.gather(*[Commits(store).write(put("a")) for _ in range(2)], return_exceptions=True)
    assert [type(error) for error in done] == [StoreError, StoreError]
    monkeypatch.undo()
    assert await commits.write(put("a")) == "a"


async def test_who_is_cancelled_while_waiting_writes_nothing_and_holds_up_nobody(store):
    commits = Commits(store)
    first = asyncio.create_task(commits.write(put("a")))
    await asyncio.sleep(0)
    gone, third = asyncio.create_task(commits.write(put("b"))), asyncio.create_task(commits.write(put("c")))
    await asyncio.sleep(0)
    gone.cancel()
    assert [await first, await third] == ["a", "c"]
    assert "b" not in await store.tables()


async def test_reads_that_are_asked_together_see_what_was_committed_before(store):
    commits = Commits(store)
    await commits.write(put("a"))

    async def count(tx):
        return len(await tx.all("SELECT 1 FROM meta WHERE key LIKE 'table:%'"))

    assert await asyncio.gather(*[commits.read(count) for _ in range(5)]) == [1] * 5
