"""The contract of the store on identifiers: who is known by which address, both ways."""

from stream.core.sheet import Changes
from stream.store import Work
from stream.store.identifiers import MOST
from tests.contracts.stores import Embedded, Watched

EMAIL, OTHER, PHONE = "email:a@b.c", "email:x@y.z", "phone:+1"


async def identify(store, **known):
    """Commits what subjects are known by, as a batch does; `user_1` is user:1."""
    identified = {subject.replace("_", ":"): identifiers for subject, identifiers in known.items()}
    await store.commit(Work(processor="profiles", claims={}, changes=Changes(identified=identified)))


async def subjects(store, *identifiers):
    return await store.db.reading(lambda tx: store.identifiers.subjects(tx, identifiers))


async def of(store, *subjects):
    return await store.db.reading(lambda tx: store.identifiers.of(tx, subjects))


async def test_all_who_share_an_address_are_found(store):
    await identify(store, user_1=(EMAIL, PHONE), anon_9=(EMAIL,), user_2=(OTHER,))
    assert await subjects(store, EMAIL, PHONE, "email:nobody@b.c") == {
        EMAIL: {"user:1", "anon:9"},
        PHONE: {"user:1"},
        "email:nobody@b.c": set(),
    }
    assert await of(store, "user:1", "user:3") == {"user:1": {EMAIL, PHONE}, "user:3": set()}


async def test_what_a_subject_is_known_by_replaces_what_it_was_known_by(store):
    await identify(store, user_1=(EMAIL, PHONE), user_2=(EMAIL,))
    await identify(store, user_1=(PHONE, OTHER))
    assert await of(store, "user:1", "user:2") == {"user:1": {PHONE, OTHER}, "user:2": {EMAIL}}


async def test_the_same_again_changes_nothing(store):
    await identify(store, user_1=(EMAIL,))
    await identify(store, user_1=(EMAIL,))
    assert await subjects(store, EMAIL) == {EMAIL: {"user:1"}}


async def test_a_subject_is_forgotten_but_for_what_is_kept(store):
    await identify(store, user_1=(EMAIL, PHONE), user_2=(EMAIL, PHONE))

    async def write(tx):
        await store.identifiers.forget(tx, "user:1", [PHONE])
        await store.identifiers.forget(tx, "user:2")

    await store.db.writing(write)
    assert await of(store, "user:1", "user:2") == {"user:1": {PHONE}, "user:2": set()}
    assert await subjects(store, EMAIL) == {EMAIL: set()}


async def test_of_an_address_that_everybody_fills_in_no_more_are_read_than_tell_that(store):
    everybody = {f"anon_{n}": (EMAIL,) for n in range(MOST + 50)}
    await identify(store, **everybody, user_1=(PHONE,))
    watched = Watched(store.db)
    found = await watched.reading(lambda tx: store.identifiers.subjects(tx, [EMAIL, PHONE]))
    assert (len(found[EMAIL]), found[PHONE]) == (MOST + 1, {"user:1"})
    assert watched.read_rows == MOST + 2


async def test_subjects_are_found_without_walking_the_table(kind, store):
    explain, found = ("EXPLAIN QUERY PLAN", "SEARCH") if isinstance(kind, Embedded) else ("EXPLAIN", "Index Cond")
    for column, value in (("identifier", EMAIL), ("subject", "user:1")):
        query = f"{explain} SELECT * FROM identifiers WHERE {column} = ?"
        plan = await store.db.reading(lambda tx, query=query, value=value: tx.all(query, value))
        assert any(found in row[-1] for row in plan)
