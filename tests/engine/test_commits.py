"""Many lanes share a transaction, and none of them notices the others."""

import asyncio

import pytest

from stream.commits import Commits
from stream.config import IdentityConfig
from stream.errors import NotYet, StoreError
from stream.reads import Reads
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

    async def counted(body, durable=True, **more):
        groups.append(durable)
        return await writing(body, durable, **more)

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
    async def full(body, durable=True, **more):
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


class Asking:
    """Counts tables, and the reads in which they were counted."""

    def __init__(self, store):
        self.reads = Reads(store)
        self.groups = []
        self.counted = self.reads.kind(self._count)
        self.wrong = self.reads.kind(self._refuse)

    async def _count(self, tx, asked):
        self.groups.append(len(asked))
        return [len(await tx.all("SELECT 1 FROM meta WHERE key = ?", f"table:{name}")) for name in asked]

    async def _refuse(self, tx, asked):
        raise NotYet("not now")


async def test_reads_that_are_asked_together_see_what_was_committed_before(store):
    await Commits(store).write(put("a"))
    asking = Asking(store)
    assert await asyncio.gather(*map(asking.counted.ask, "abaca")) == [1, 0, 1, 0, 1]
    assert asking.groups == [5]


async def test_what_one_kind_of_question_raises_is_not_raised_to_another(store):
    asking = Asking(store)
    asked = [asking.counted.ask("a"), asking.wrong.ask("a"), asking.counted.ask("b"), asking.wrong.ask("b")]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [one if isinstance(one, int) else one.reason for one in done] == [0, "not now", 0, "not now"]
    assert asking.groups == [2]


async def test_a_read_that_fails_fails_for_all_of_them_and_the_next_one_does_not(store, monkeypatch):
    async def away(body):
        raise StoreError("away")

    asking = Asking(store)
    with monkeypatch.context() as patched:
        patched.setattr(store.db, "reading", away)
        done = await asyncio.gather(asking.counted.ask("a"), asking.wrong.ask("a"), return_exceptions=True)
    assert [type(one) for one in done] == [StoreError, StoreError]
    assert await asking.counted.ask("a") == 0
