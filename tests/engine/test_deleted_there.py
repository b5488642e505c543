"""A deletion at a destination has the last word: nothing that is on its way, or late, brings anybody back."""

from pathlib import Path

import pytest

from processors.consent import Answers, Carried
from processors.deletion import Forgotten, Settings
from stream.errors import NotYet, Retry
from stream.syncer import Syncing
from tests.embedded import message
from tests.engine.syncs import TIMEOUT_S, Asked, Crm, Lists, System, audience, identify, opt_in, opt_out

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

NOW = 1_000_000.0


def deleting(system: System, crm: Crm) -> Syncing:
    return system.member(Forgotten("deletion.crm", crm, Settings()))


async def forget(system: System, user: str = "ada") -> None:
    system.clock.now += 1
    await system.send(message("delete", system.clock.now, userId=user))


async def test_what_was_not_answered_and_may_still_arrive_is_awaited_before_the_deletion(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))

        async def unanswered(asked: Asked) -> None:
            system.wire.after = None
            raise Retry("timeout")

        system.wire.after = unanswered
        await system.settle()
        await forget(system)
        begun = system.clock.now
        await system.settle(deleting(system, crm))
        assert [asked.verb for asked in system.wire.asked][-1] == "delete_person"
        assert system.clock.now - begun > TIMEOUT_S
        assert system.wire.things == {}


async def test_a_deletion_that_was_not_answered_is_over_only_when_it_cannot_arrive_once_more(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        await system.send(identify("ada", NOW, "a@b.c"), identify("bob", NOW, "a@b.c"), audience("bob", NOW + 1, True))
        await system.settle()
        deletes = deleting(system, crm)

        async def unanswered(asked: Asked) -> None:
            system.wire.after = None
            raise Retry("timeout")

        system.wire.after = unanswered
        await forget(system)
        begun = system.clock.now
        await system.settle(deletes, system.syncing)
        assert system.clock.now - begun > TIMEOUT_S
        assert system.wire.on("list:vip") == {"a@b.c"}, "bob is told anew, once ada is gone for good"
        assert [asked.verb for asked in system.wire.asked][-1] == "set_membership"


async def test_nothing_is_taken_away_while_it_is_deleted_or_it_would_be_made_anew(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Answers("consent.crm", crm, Carried())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), opt_in("ada", NOW + 1))
        await system.settle()
        assert system.wire.things == {("a@b.c", "consent:email"): True}
        reasons: list[str] = []

        async def meanwhile(asked: Asked) -> None:
            with pytest.raises(NotYet) as why:
                await system.syncing.act((await system.lanes())["user:ada"], False)
            reasons.append(why.value.reason)

        await forget(system)
        lanes = await system.lanes()
        system.wire.before = meanwhile
        system._seen.clear()
        await deleting(system, crm).act(lanes["user:ada"], False)
        system.wire.before = None
        await system.settle()
        assert reasons == ["leased"]
        assert system.wire.things == {}
        assert [asked.verb for asked in system.wire.asked] == ["set_consent", "delete_person"]


async def test_what_a_reactor_was_sending_has_arrived_before_the_deletion(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        store = system.embedded.store
        await system.send(identify("ada", NOW, "a@b.c"))
        await store.db.writing(
            lambda tx: store.sends.name(tx, "crm", "email:other@b.c", "user:ada", processor="signups")
        )
        await forget(system)
        asked = system.clock.now
        await system.settle(deleting(system, crm))
        assert {asked.ids for asked in system.wire.asked} == {("a@b.c",), ("other@b.c",)}
        assert system.clock.now - asked > 2 * TIMEOUT_S


async def test_who_has_the_same_id_in_another_space_is_told_anew_once_it_is_deleted(tmp_path: Path) -> None:
    crm = Crm()
    crm.kinds = ("user_id",)
    async with System.open(tmp_path, Lists(crm)) as system:
        store = system.embedded.store
        store.deletions.destinations = {"crm": ("user_id",)}
        members = [system.member(sync) for sync in (system.sync, Forgotten("deletion.crm", crm, Settings()))]
        for member in members:
            member.looking._seeing._spaces = member._leases.spaces = ("", "staging")
        there = {"space": "staging"}
        entered = audience("ada", NOW, True)
        personas = {"computation_class": "audience", "computation_key": "vip", "space_id": "spa"}
        other = message("identify", NOW, there, userId="ada", traits={"vip": True}, context={"personas": personas})
        await system.send(entered)
        await system.settle(*members)
        await system.send(other)
        await system.settle(*members)
        await forget(system)
        await system.settle(*members)
        assert system.wire.on("list:vip") == {"ada"}
        assert [asked.verb for asked in system.wire.asked][-2:] == ["delete_person", "set_membership"]


async def test_an_address_that_is_used_again_is_the_one_they_are_known_by(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), identify("ada", NOW + 1, "x@b.c"))
        await system.send(audience("ada", NOW + 2, True))
        await system.settle()
        assert system.wire.on("list:vip") == {"x@b.c"}
        await system.send(identify("ada", NOW + 3, "a@b.c"))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_an_address_used_again_by_a_linked_one_is_the_persons_too(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        known = message("page", NOW, userId="ada", context={"traits": {"email": "a@b.c"}})
        anonymous = message("page", NOW + 1, anonymousId="9", context={"traits": {"email": "x@b.c"}})
        await system.send(known, anonymous, audience("ada", NOW + 2, True))
        await system.send(message("identify", NOW + 3, userId="ada", anonymousId="9", traits={}))
        await system.settle()
        assert system.wire.on("list:vip") == {"x@b.c"}
        await system.send(message("page", NOW + 4, userId="ada", context={"traits": {"email": "a@b.c"}}))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_of_two_who_want_the_same_it_is_given_for_the_one_who_may(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        system._settings.purposes["marketing"] = type(system._settings.purposes["marketing"])(channels=("email",))
        sync = system.member()
        await system.send(identify("ada", NOW, "a@b.c"), opt_in("ada", NOW + 1), audience("ada", NOW + 2, True))
        await system.send(identify("bob", NOW + 8, "a@b.c"), audience("bob", NOW + 9, True))
        await system.settle(sync)
        assert system.wire.on("list:vip") == {"a@b.c"}, "bob never said anything"
        await system.send(opt_out("bob", NOW + 10))
        await system.settle(sync)
        assert system.wire.on("list:vip") == set()
