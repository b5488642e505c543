"""The gate: when nobody may be given anything, and how it is asked."""

import asyncio

import pytest

from stream.config import Config, PurposeConfig
from stream.errors import ConfigError, Skip
from stream.gate import Gate, Question
from tests.contracts.stores import Watched
from tests.embedded import Clock, Embedded
from tests.engine.gates import CONFIG, NOW, Asking, opened, says
from tests.engine.outcome import ready

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.mark.parametrize("stopped", ["profiles", "consent", "deletion"])
async def test_nothing_is_given_while_one_that_it_relies_on_is_stopped(tmp_path, stopped):
    async with opened(tmp_path) as asking:
        positions = asking.system.store.positions
        assert await asking.waits() is None
        await positions.stop(stopped, "most die", NOW)
        assert await asking.waits() == f"gate:{stopped}_stopped"
        await positions.resume(stopped)
        assert await asking.waits() == f"gate:{stopped}_behind", "it may not have read an opt-out yet"
        asking.clock.now += 1.0
        await asking.system.read(stopped)
        assert await asking.waits() is None
        await positions.stop("audiences", "most die", NOW)
        assert await asking.waits() is None


@pytest.mark.parametrize("frozen", ["profiles", "consent", "deletion"])
async def test_nothing_is_given_while_one_that_it_relies_on_is_frozen(tmp_path, frozen):
    async with opened(tmp_path) as asking:
        for _ in range(3):  # as time goes by
            asking.clock.now += 30.0
            await asking.system.read(*{"profiles", "consent", "deletion"} - {frozen})
        assert await asking.waits() == f"gate:{frozen}_behind"
        await asking.system.read(frozen)
        assert await asking.waits() is None


async def test_something_is_given_while_consent_is_merely_slow(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        asking.clock.now += 59.0
        await asking.system.send(says(2.0, given={"Advertising": False}))
        await asking.system.read("profiles", "deletion")
        assert await asking.refuses() is None  # its opt-out is not in the store
        asking.clock.now += 2.0
        assert await asking.waits() == "gate:consent_behind"
        await asking.system.read("consent")
        assert await asking.refuses() == "no_consent"


@pytest.mark.parametrize("given", [None, {"Advertising": True}], ids=["changes nothing", "changes rows"])
async def test_a_projection_that_never_is_at_the_end_has_caught_up_all_the_same(tmp_path, monkeypatch, given):
    monkeypatch.setattr("stream.projector.BATCH", 10)
    monkeypatch.setattr("stream.unwritten.LONGEST_S", 0.0)
    async with opened(tmp_path) as asking:
        await asking.system.send(*[says(float(n)) for n in range(20)])
        for _ in range(25):  # as many come as it has read: it is always 20 behind
            read = await asking.system.step("consent")
            assert 0 < read <= 10
            await asking.system.send(*[says(asking.clock.now + n / 10, given=given) for n in range(read)])
            asking.clock.now += 5.0
            await asking.system.read("profiles", "deletion")
            assert await asking.waits() is None


async def test_a_clock_that_is_put_back_does_not_make_old_news_fresh(tmp_path):
    async with opened(tmp_path) as asking:
        asking.clock.now -= 3_600.0
        assert await asking.waits() == "gate:profiles_behind"
        await asking.system.read()
        assert await asking.waits() is None


async def test_nothing_is_given_before_everything_was_read_once(tmp_path):
    clock = Clock(NOW)
    async with Embedded.open(tmp_path, CONFIG, clock) as system:
        await ready(system)
        asking = Asking(system, clock)
        for name, waits in (("profiles", "consent"), ("consent", "deletion"), ("deletion", None)):
            await system.read(name)
            assert await asking.waits() == (waits and f"gate:{waits}_behind")


async def test_after_a_restart_it_recovers_by_itself(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
    async with Embedded.open(tmp_path, CONFIG, Clock(NOW + 3_600.0)) as system:
        await ready(system)
        asking = Asking(system, system.around.clock)
        assert await asking.waits() == "gate:profiles_behind"
        await system.read()
        assert await asking.refuses() is None


async def test_a_read_that_fails_gives_nothing(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        db = asking.system.store.db
        await db.writing(lambda tx: tx.run("ALTER TABLE caught_up RENAME TO gone"))
        assert await asking.waits() == "gate:unreadable"
        await db.writing(lambda tx: tx.run("ALTER TABLE gone RENAME TO caught_up"))
        assert await asking.refuses() is None


async def test_many_questions_at_once_are_one_read(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(*[says(1.0, userId=str(n), given={"Advertising": n % 2 == 0}) for n in range(200)])
        watched = Reads(asking.system.store.db)
        asking.reads._db = watched
        one = asyncio.create_task(asking.gate.refusals([Question("crm", "user:0", "ads")]))
        found = await asyncio.gather(*[asking.refuses(subject=f"user:{n}") for n in range(200)])
        assert found == [None if n % 2 == 0 else "no_consent" for n in range(200)]
        assert (await one, watched.reads) == ([None], 1)


async def test_a_question_asked_while_a_read_runs_is_answered_by_the_next_one(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        reads = asking.reads._db = Reads(asking.system.store.db)
        reads.may_end.clear()
        first = asyncio.create_task(asking.refuses())
        await reads.read.wait()  # it has seen the yes, and is not back yet
        await asking.knows(says(2.0, given={"Advertising": False}))
        later = [asyncio.create_task(asking.refuses()) for _ in range(5)]
        await asyncio.sleep(0)
        reads.may_end.set()
        assert (await first, await asyncio.gather(*later)) == (None, ["no_consent"] * 5)
        assert reads.reads == 2


async def test_who_stops_waiting_takes_no_answer_from_others(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        reads = asking.reads._db = Reads(asking.system.store.db)
        reads.may_end.clear()
        first, second = (asyncio.create_task(asking.refuses()) for _ in range(2))
        await reads.read.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        reads.may_end.set()
        assert await second is None
        assert await asking.refuses() is None


async def test_what_is_refused_is_skipped_with_its_reason(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": False}))
        with pytest.raises(Skip) as skip:
            await asking.gate.ask(Question("crm", "user:1", "ads"))
        assert skip.value.reason == "no_consent"
        await asking.gate.ask(Question("crm", "user:1", "internal"))


async def test_a_purpose_that_is_not_declared_is_an_error_that_names_it(tmp_path):
    async with opened(tmp_path) as asking:
        with pytest.raises(ConfigError, match=r"\[purposes.spam\].*ads, both, internal"):
            await asking.refuses("spam")


@pytest.mark.parametrize("channel", ["Email", "list", "e-mail", ""])
async def test_a_channel_that_nobody_can_subscribe_to_is_an_error(tmp_path, channel):
    wrong = Config(purposes={"mail": PurposeConfig(channels=(channel,))})
    async with opened(tmp_path) as asking:
        with pytest.raises(ConfigError, match=r"purposes\.mail\.channels"):
            Gate(asking.system.around, wrong)


class Reads:
    """A store's database whose reads are counted, and end when they may."""

    def __init__(self, db):
        self.reads = 0
        self.read = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._db = db

    async def reading(self, body):
        self.reads += 1
        done = await self._db.reading(body)
        self.read.set()
        await self.may_end.wait()
        return done


async def test_a_question_costs_the_same_few_statements_for_one_and_for_many(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(*[says(1.0, userId=str(n), given={"Advertising": True}) for n in range(100)])
        watched = asking.reads._db = Watched(asking.system.store.db)
        await asking.refuses(address="user_id:1")
        few = watched.statements
        questions = [Question("crm", f"user:{n}", "ads", f"user_id:{n}") for n in range(100)]
        assert await asking.gate.refusals(questions) == [None] * 100
        assert watched.statements == 2 * few <= 50
