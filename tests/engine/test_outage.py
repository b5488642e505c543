"""A store or log that does not answer is waited out, and nothing is lost; what is an answer is not waited for."""

import asyncio
import sqlite3

import pytest
from structlog.testing import capture_logs

from stream import outage
from stream.errors import ClaimLost, Conflict, LogUnavailable, PositionLost, StoreError
from tests.embedded import Embedded, message
from tests.engine.outcome import finish, ready


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Attempts follow each other quickly."""
    monkeypatch.setattr(outage, "_FIRST_S", 0.001)
    monkeypatch.setattr(outage, "_LONGEST_S", 0.01)


async def patience(system, ms):
    """For how long the store waits for another process' lock."""
    for thread in (system.store.db._writer, system.store.db._reader):
        await thread.call(lambda connection: connection.execute(f"PRAGMA busy_timeout={ms}"))


async def test_a_store_that_another_process_locks_is_waited_for_and_nothing_is_lost_or_counted_twice(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await patience(system, 5)
        await system.send(*[message("identify", n, userId="u1", traits={"plan": n}) for n in range(1, 6)])
        locking = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        with capture_logs() as lines:
            step = asyncio.create_task(system.step("profiles"))
            async with asyncio.timeout(10):
                while not lines:
                    await asyncio.sleep(0.001)
            assert not step.done()
            locking.execute("ROLLBACK")
            locking.close()
            await step
        assert [line["event"] for line in lines] == ["outage_began", "outage_ended"]
        assert all("u1" not in str(line) for line in lines)
        await patience(system, 5_000)
        await finish(system)
        person = await system.person("user:u1")
        assert (person.counts, person.traits) == ({"identify": 5}, {"plan": 5})
        assert (await system.fates())["profiles"] == {"applied": 5}


async def test_an_append_that_fails_is_published_once_the_log_takes_it_again(tmp_path):
    failures = 3

    class Failing:
        def __init__(self, log):
            self._log = log

        async def append(self, messages):
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise LogUnavailable("no space left on device")
            await self._log.append(messages)

    async with Embedded.open(tmp_path) as system:
        await ready(system)
        publisher = system.projectors["profiles"]._publisher
        publisher._around = type(system.around)(
            Failing(system.log), system.store, system.around.turns, system.around.metrics, system.around.clock
        )
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}))
        with capture_logs() as lines:
            await system.read("profiles")
        assert [line["event"] for line in lines] == ["outage_began", "outage_ended"]
        assert [d.message.key for d in await system.topic("person.profile")] == [b"user:u1"]
        assert await system.store.marks.open("profiles") == []


@pytest.mark.parametrize("answer", [ClaimLost, Conflict, PositionLost, ZeroDivisionError])
async def test_an_answer_is_not_an_outage(answer):
    calls = []

    async def attempt():
        calls.append(1)
        raise answer("so it is")

    with pytest.raises(answer):
        await outage.outlast(attempt, "p")
    assert calls == [1]


async def test_an_outage_is_told_once_however_long_it_lasts():
    left = [StoreError("disk I/O error")] * 5

    async def attempt():
        if left:
            raise left.pop()
        return "done"

    with capture_logs() as lines:
        assert await outage.outlast(attempt, "p") == "done"
    assert [(line["event"], line["processor"]) for line in lines] == [("outage_began", "p"), ("outage_ended", "p")]
