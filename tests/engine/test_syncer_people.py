"""Who is whom, and who is to be forgotten: what the destination holds follows."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from processors.deletion import Forgotten
from processors.deletion import Settings as DeletionSettings
from stream.errors import Dead, Retry
from stream.looking import Look
from stream.message import Message
from stream.person import Person
from stream.processor import Want
from tests.embedded import message
from tests.engine.syncs import Asked, Crm, Lists, System, audience, identify

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

NOW = 1_000_000.0


def seen_as(anonymous: str, user: str, at: float) -> Message:
    """An anonymous one identifies."""
    return message("identify", at, userId=user, anonymousId=anonymous, traits={})


def anonymous_audience(anonymous: str, at: float, member: bool) -> Message:
    """Engage says it of somebody whom it knows by the anonymous id."""
    personas = {"computation_class": "audience", "computation_key": "vip", "computation_id": "aud_1", "space_id": "spa"}
    return message("identify", at, anonymousId=anonymous, traits={"vip": member}, context={"personas": personas})


def forget(user: str, at: float) -> Message:
    """Segment asks that somebody be forgotten."""
    return message("delete", at, userId=user, headers={"authority": "segment"})


async def test_what_an_anonymous_one_is_in_counts_for_the_user_once_they_are_one(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(anonymous_audience("9", NOW, True), identify("ada", NOW, "a@b.c"))
        await system.settle()
        assert system.wire.asked == []
        await system.send(seen_as("9", "ada", NOW + 1))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_a_link_that_moves_takes_its_membership_along(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), identify("bob", NOW, "b@b.c"))
        await system.send(anonymous_audience("9", NOW, True), seen_as("9", "ada", NOW + 5))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}
        await system.send(seen_as("9", "bob", NOW + 1))  # earlier, and so it was bob all along
        await system.settle()
        assert system.wire.on("list:vip") == {"b@b.c"}


async def test_what_was_told_on_behalf_of_an_anonymous_one_is_its_persons_once_linked(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        first = message("identify", NOW, anonymousId="9", traits={"email": "old@b.c"})
        await system.send(first, anonymous_audience("9", NOW, True))
        await system.settle()
        assert system.wire.on("list:vip") == {"old@b.c"}
        await system.send(identify("ada", NOW + 1, "new@b.c"), seen_as("9", "ada", NOW + 2))
        await system.settle()
        assert system.wire.on("list:vip") == {"new@b.c"}


async def test_who_is_forgotten_is_deleted_at_the_destination_and_told_anew_on_return(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        deletes = system.member(Forgotten("deletion.crm", crm, DeletionSettings()))
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(identify("ada", NOW + 2, "new@b.c"))
        await system.settle()
        system.clock.now += 10
        await system.send(forget("ada", system.clock.now))
        await system.settle(system.syncing, deletes)
        deleted = {asked.ids for asked in system.wire.asked if asked.verb == "delete_person"}
        assert deleted == {("a@b.c",), ("new@b.c",)}
        assert system.wire.things == {}
        assert await system.rows("email:a@b.c") == []
        (request,) = await system.embedded.store.deletions.every()
        assert request.state == "done"
        assert {receipt.outcome for receipt in request.receipts} == {"deleted"}
        at = system.clock.now + 5
        system.clock.now += 20
        await system.send(identify("ada", at, "a@b.c"), audience("ada", at + 1, True))
        await system.settle(system.syncing, deletes)
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_while_a_destination_has_not_deleted_nothing_is_given_there(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        system.clock.now += 10
        await system.send(forget("ada", system.clock.now))
        await system.settle()
        at = system.clock.now + 5
        system.clock.now += 20
        await system.send(identify("ada", at, "a@b.c"), audience("ada", at + 1, True))
        await system.settle()
        assert system.wire.on("list:vip") == set()
        deletes = system.member(Forgotten("deletion.crm", crm, DeletionSettings()))
        assert await system.look("user:ada", deletes) == "applied"
        await system.settle(system.syncing, deletes)
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_a_deletion_waits_for_whoever_is_still_giving(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        deletes = system.member(Forgotten("deletion.crm", crm, DeletionSettings()))
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        looks: list[str] = []

        async def forgotten(asked: Asked) -> None:
            system.wire.after = None
            system.clock.now += 1
            await system.send(forget("ada", system.clock.now))
            try:
                await deletes.act((await system.lanes())["user:ada"], False)
            except Retry as error:
                looks.append(error.reason)

        system.wire.after = forgotten
        await system.settle()
        assert looks == ["leased"]
        assert await system.look("user:ada", deletes) == "applied"
        await system.settle(system.syncing, deletes)
        assert [asked.verb for asked in system.wire.asked if asked.value is not False] == [
            "set_membership",
            "delete_person",
        ]
        assert system.wire.on("list:vip") == set()


async def test_a_look_from_before_a_deletion_leaves_no_address_behind(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        deletes, looks = system.member(Forgotten("deletion.crm", crm, DeletionSettings())), 0
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        system.clock.now += 10
        await system.send(forget("ada", system.clock.now))
        at = system.syncing.looking.at

        async def at_last(subject: str, everything: bool = False) -> Look:
            nonlocal looks
            looks += 1
            look = await at(subject, everything)
            if looks == 1:
                await system.settle(deletes)
            return look

        system.syncing.looking.at = at_last  # type: ignore[method-assign]
        assert await system.look("user:ada") == "applied"
        assert looks > 1
        assert await system.rows("email:a@b.c") == []


async def test_who_was_doubted_while_being_deleted_leaves_no_address_behind(tmp_path: Path) -> None:
    crm = Crm()
    async with System.open(tmp_path, Lists(crm)) as system:
        deletes = system.member(Forgotten("deletion.crm", crm, DeletionSettings()))
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        (told,) = await system.rows("email:a@b.c")
        system.clock.now += 10
        await system.send(forget("ada", system.clock.now))
        await system.settle(system.syncing, deletes)
        await system.embedded.store.db.writing(lambda tx: system.embedded.store.confirmed.doubt(tx, [told]))
        assert await system.look("user:ada") == "applied"
        assert system.wire.asked[-1].value is False
        assert await system.rows("email:a@b.c") == []


async def test_a_destination_that_cannot_delete_leaves_a_receipt_that_says_so(tmp_path: Path) -> None:
    crm = Mute()
    async with System.open(tmp_path, Lists(crm)) as system:
        deletes = system.member(Forgotten("deletion.crm", crm, DeletionSettings()))
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        system.clock.now += 10
        await system.send(forget("ada", system.clock.now))
        await system.settle(system.syncing, deletes)
        (request,) = await system.embedded.store.deletions.every()
        assert (request.state, [receipt.outcome for receipt in request.receipts]) == ("done", ["unsupported"])
        assert [asked.value for asked in system.wire.asked] == [True, False]


async def test_what_one_person_breaks_touches_nothing_that_another_shares(tmp_path: Path) -> None:
    async with System.open(tmp_path, Choosy(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(identify("bob", NOW + 2, "a@b.c", traits={"broken": True}), audience("ada", NOW + 3, False))
        assert set(await system.settle()) == {"held:broken"}
        assert system.wire.on("list:vip") == {"a@b.c"}
        await system.send(identify("bob", NOW + 4, traits={"broken": False}))
        await system.settle()
        await system.look("user:ada")
        assert system.wire.on("list:vip") == set()


async def test_a_verb_that_the_connector_lacks_ends_the_look_with_a_name_for_it(tmp_path: Path) -> None:
    crm = Crm()
    crm.set_membership = None  # type: ignore[assignment,method-assign]
    async with System.open(tmp_path, Lists(crm)) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        assert set(await system.settle()) == {"held:cannot:set_membership"}


class Mute(Crm):
    """Cannot delete."""

    delete_person = None  # type: ignore[assignment]


class Choosy(Lists):
    """Does not know what to make of some people."""

    facets = ()

    def wanted(self, person: Person) -> Sequence[Want]:
        if person.traits.get("broken"):
            raise Dead("broken")
        return super().wanted(person)
